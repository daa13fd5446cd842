"""What stands in the way of the projection never ends the thread that keeps it."""

import logging
from collections.abc import Iterator

import pytest
from hazelcast.errors import TargetDisconnectedError
from hazelcast.sql import HazelcastSqlError

from infra.errors import TerminalError, TransientError
from infra.settings import Settings
from scoring import projection_watch
from scoring.projection_watch import ProjectionWatch

ANSWERS: list[Exception | list[str]] = [
    TerminalError("the members cannot read Kafka"),
    HazelcastSqlError(None, -1, "the query is gone", None),
    HazelcastSqlError(None, -1, "the query is gone", None),
    TargetDisconnectedError("the member is gone"),
    TransientError("Hazelcast does not answer"),
    ["predictions_to_map"],
]


def test_the_projection_is_made_whatever_went_wrong_before(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    answers: Iterator[Exception | list[str]] = iter(ANSWERS)

    def ensure(*_: object) -> list[str]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        watch._stop_event.set()
        return answer

    monkeypatch.setattr(projection_watch, "ensure_projection", ensure)
    monkeypatch.setattr(projection_watch, "LOOK_SECONDS", 0)
    caplog.set_level(logging.INFO)
    watch = ProjectionWatch(Settings(), logging.getLogger("a flow's"))
    watch.start()
    watch.join(30)
    assert not watch.is_alive()
    assert [record.getMessage() for record in caplog.records if record.name == "a flow's"] == [
        "no projection for now: the members cannot read Kafka",
        "no projection for now: the query is gone",
        "no projection for now: the member is gone",
        "no projection for now: Hazelcast does not answer",
        "projection: created predictions_to_map",
    ]
