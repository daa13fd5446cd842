"""Records that come together with an error of a broker that has gone."""

from typing import Any

import pytest
from confluent_kafka import KafkaError

from infra import topic_reader as module
from infra.errors import TransientError
from infra.settings import KafkaSettings


class Arrived:
    """What librdkafka hands out: a record, or an error in the place of one."""

    def __init__(self, offset: int, error: KafkaError | None = None):
        self.offset, self.error, self.partition = lambda: offset, lambda: error, lambda: 0

    def __len__(self) -> int:
        """Of its value, as librdkafka's message has it: without one it is false."""
        return 0


class Consumer:
    """Stands for librdkafka's consumer."""

    def __init__(self, _: dict[str, Any]):
        self.batches = [[Arrived(0), Arrived(1, KafkaError(KafkaError._TRANSPORT)), Arrived(1)], [Arrived(2)]]

    def poll(self, _: float) -> Arrived | None:
        return self.batches[0].pop(0)

    def consume(self, *_: Any) -> list[Arrived]:
        return self.batches.pop(0)


def test_records_that_come_with_an_error_are_read_before_it_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "Consumer", Consumer)
    monkeypatch.setattr(module, "known_partitions", lambda *_: 1)
    monkeypatch.setattr(module, "wait_for_brokers", lambda *_: None)
    reader = module.TopicReader(KafkaSettings(bootstrap_servers="nowhere:1"), "Predictions")

    assert [message.offset() for message in reader.arrived()] == [0, 1]
    with pytest.raises(TransientError, match="cannot read Predictions"):
        reader.arrived()
    assert [message.offset() for message in reader.arrived()] == [2]
