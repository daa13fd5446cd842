"""A group whose offsets a broker does not tell is not taken for one that has none."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from infra import group_reader as module
from infra.errors import TransientError
from infra.group_reader import GroupReader
from infra.settings import KafkaSettings


class Consumer:
    """Stands for librdkafka's consumer: the call succeeds, and one partition of it has failed."""

    def __init__(self, _: dict[str, Any]):
        self.error: KafkaError | None = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT)

    def list_topics(self, topic: str, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions={0: None, 1: None})})

    def committed(self, asked: list[Any], **_: Any) -> list[SimpleNamespace]:
        errors = [None, self.error]
        return [
            SimpleNamespace(partition=at.partition, offset=-1001 if error else 90, error=error)
            for at, error in zip(asked, errors, strict=True)
        ]

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return 0, 100


def test_an_offset_that_could_not_be_read_is_an_error_and_no_lag(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "Consumer", Consumer)
    monkeypatch.setattr(module, "partitions", lambda _: {"Transactions": 2})
    reader = GroupReader(KafkaSettings(bootstrap_servers="nowhere:1"), "scorer", "Transactions")
    with pytest.raises(TransientError, match="cannot read the group's offsets"):
        reader.lag()
    reader._consumer.error = None  # type: ignore[attr-defined] - the one above
    assert reader.lag() == 20
