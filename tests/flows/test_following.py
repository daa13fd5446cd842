"""What `fraudflow` shows of a run: all of its log, whenever it arrives."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import LogCreate
from prefect.states import Completed, Crashed, Scheduled

from cli import run as following
from tests.conftest import reporting_to

pytestmark = [pytest.mark.server, pytest.mark.slow]


@flow(name="talks")
def talks() -> None:
    """Its runs are made by hand here: what they log, and when that arrives, is the test's."""


@pytest.fixture
def client(prefect: str) -> Iterator[SyncPrefectClient]:
    with reporting_to(prefect), get_client(sync_client=True) as connected:
        yield connected


def _say(client: SyncPrefectClient, run: UUID, *lines: str) -> None:
    now = datetime.now(UTC)
    logs = [
        LogCreate(
            name="prefect.flow_runs", level=20, message=line, timestamp=now + timedelta(microseconds=n), flow_run_id=run
        )
        for n, line in enumerate(lines)
    ]
    client.create_logs(logs)


def _told(client: SyncPrefectClient, run: UUID) -> list[str]:
    told: list[str] = []
    following._follow(client, run, lambda line: told.append(line.strip()))
    return told


def test_the_last_lines_are_shown_though_the_run_has_ended_before_they_arrive(client: SyncPrefectClient) -> None:
    run = client.create_flow_run(talks).id
    client.set_flow_run_state(run, Completed(), force=True)
    late = threading.Timer(2, _say, (client, run, "removed the last thing", "Finished in state Completed()"))
    late.start()
    assert _told(client, run) == ["removed the last thing"]
    late.join()


def test_a_burst_of_lines_is_shown_whole(client: SyncPrefectClient) -> None:
    run, lines = client.create_flow_run(talks).id, [f"line {n}" for n in range(501)]
    _say(client, run, *lines, "Finished in state Completed()")
    client.set_flow_run_state(run, Completed(), force=True)
    assert _told(client, run) == lines


def test_a_run_that_died_without_a_word_is_not_waited_for(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_LAST_LINES_SECONDS", 0.1)
    run = client.create_flow_run(talks).id
    _say(client, run, "began")
    client.set_flow_run_state(run, Crashed(), force=True)
    assert _told(client, run) == ["began"]


def test_a_run_that_no_worker_takes_says_so_once(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_WORKER_SECONDS", 0.0)
    run = client.create_flow_run(talks, state=Scheduled()).id
    told: list[str] = []

    def hear(line: str) -> None:
        told.append(line)
        client.set_flow_run_state(run, Crashed(), force=True)

    monkeypatch.setattr(following, "_LAST_LINES_SECONDS", 0.1)
    following._follow(client, run, hear)
    assert len(told) == 1
    assert "no worker has taken this run" in told[0]
    assert "fraudflow up" in told[0]
