"""What a command says when Prefect cannot run its deployment: a line with what to do, and no traceback."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.run import run_deployment
from infra.errors import TerminalError, TransientError
from infra.local import ports
from infra.settings import get_settings


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer((ports.HOST, 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://{ports.HOST}:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
    yield
    get_settings.cache_clear()


def run(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FRAUDFLOW_PREFECT_API_URL", url)
    get_settings.cache_clear()
    run_deployment("train/local", {}, lambda _: None)


def test_a_prefect_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = f"http://{ports.HOST}:{ports.choose(0, setting='')}/api"
    with pytest.raises(TransientError, match=f"Prefect at {nowhere} does not answer: .*`fraudflow up`"):
        run(monkeypatch, nowhere)


def test_a_prefect_that_wants_a_login(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    with pytest.raises(TerminalError, match=r"answers 401.*PREFECT_API_KEY"):
        run(monkeypatch, f"{server}/401/api")


def test_a_prefect_that_is_broken(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    with pytest.raises(TransientError, match="answers 500"):
        run(monkeypatch, f"{server}/500/api")


def test_parameters_that_a_deployment_does_not_know_are_no_matter_of_logins(
    monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    with pytest.raises(TerminalError, match=r"answers 422.*`fraudflow up`"):
        run(monkeypatch, f"{server}/422/api")


def test_a_prefect_that_has_no_time(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    with pytest.raises(TransientError, match="answers 429"):
        run(monkeypatch, f"{server}/429/api")
