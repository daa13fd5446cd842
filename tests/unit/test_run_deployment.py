"""What a command says when Prefect cannot run its deployment: a line with what to do, and no traceback."""

from collections.abc import Iterator

import pytest

from cli.run import run_deployment
from infra.errors import TerminalError, TransientError
from infra.local import ports
from infra.settings import get_settings
from tests.answering import answering


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


def refused(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    with answering() as server:
        server.codes = [code]
        run(monkeypatch, server.url)


def test_a_prefect_that_wants_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TerminalError, match=r"answers 401.*PREFECT_API_KEY"):
        refused(monkeypatch, 401)


def test_a_prefect_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TransientError, match="answers 500"):
        refused(monkeypatch, 500)


def test_parameters_that_a_deployment_does_not_know_are_no_matter_of_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TerminalError, match=r"answers 422.*`fraudflow up`"):
        refused(monkeypatch, 422)


def test_a_prefect_that_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TransientError, match="answers 429"):
        refused(monkeypatch, 429)
