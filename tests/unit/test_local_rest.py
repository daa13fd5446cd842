"""Prefect's server on SQLite is busy now and then: asked again, not given up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import TerminalError, TransientError
from infra.local import processes, rest, stack
from infra.local.registry import WORKER, Registry
from infra.local.rest import PrefectApi
from infra.settings import LocalSettings, Settings
from tests.answering import Server, answering


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(rest.time, "sleep", lambda _: None)
    with answering() as server:
        yield server


def ask(server: Server, *codes: int) -> object:
    server.codes = list(codes)
    return PrefectApi(server.url).post("/flows/", {})


def test_a_busy_server_is_asked_again(server: Server) -> None:
    assert ask(server, 503, 429, 201) == {}
    assert server.asked == 3


def test_a_server_that_stays_busy_is_told_of(server: Server) -> None:
    with pytest.raises(TransientError, match="503"):
        ask(server, 503)


def test_a_server_that_failed_is_not_asked_again(server: Server) -> None:
    with pytest.raises(TransientError, match="500"):
        ask(server, 500)
    assert server.asked == 1


def test_a_refused_login_says_what_to_set(server: Server) -> None:
    with pytest.raises(TerminalError, match="PREFECT_API_AUTH_STRING"):
        ask(server, 401)
    assert server.asked == 1


@pytest.mark.parametrize("code", [401, 404])
def test_a_stack_goes_down_though_prefect_refuses_us(server: Server, tmp_path: Path, code: int) -> None:
    """A login that this shell does not have, or another program on the port of a Prefect that died."""
    server.codes = [code]
    settings, told = Settings(local=LocalSettings(home=tmp_path)), []
    worker = processes.spawn(WORKER, ["sleep", "600"], home=tmp_path, address=server.url)
    Registry(tmp_path).add(worker)
    assert stack.down(settings, progress=told.append) == [WORKER]
    assert processes.marked(tmp_path) == []
    assert [line for line in told if f": {code}" in line and "its flow runs are ended without it" in line]
