"""Reading whole topics as a stranger would: read_committed, from the first offset to the last."""

import json
import time
import uuid
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from infra.kafka import client_config, partitions
from infra.settings import KafkaSettings

# Longer than a transaction may stay open.
READ_SECONDS = 120


def read(kafka: KafkaSettings, topic: str) -> list[Message]:
    """Every committed message of a topic, by partition and offset.

    Waits for transactions that are still open: the broker answers a commit or an abort before its markers are in every
    partition, and until then readers stop in front of it.
    """
    ends = _ends(kafka, topic)
    consumer = Consumer(
        client_config(kafka)
        | {
            "group.id": f"reader-{uuid.uuid4().hex}",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    messages = []
    deadline = time.monotonic() + READ_SECONDS
    while ends:
        assert time.monotonic() < deadline, f"{topic}: a transaction is open, or Kafka delivers nothing"
        for message in consumer.consume(10_000, 1):
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() != KafkaError._PARTITION_EOF:
                raise AssertionError(error)
            elif message.offset() >= ends.get(message.partition(), 0):
                ends.pop(message.partition(), None)
    consumer.close()
    return sorted(messages, key=lambda m: (m.partition(), m.offset()))


def _ends(kafka: KafkaSettings, topic: str) -> dict[int, int]:
    """The offset behind each partition's last record, committed or not."""
    client = AdminClient(client_config(kafka))
    ask = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(partitions(kafka)[topic])}
    answers = client.list_offsets(ask, isolation_level=IsolationLevel.READ_UNCOMMITTED)
    return {asked.partition: answer.result().offset for asked, answer in answers.items()}


def values(kafka: KafkaSettings, topic: str) -> list[dict[str, Any]]:
    """The JSON values of a topic."""
    return [json.loads(message.value() or b"null") for message in read(kafka, topic)]
