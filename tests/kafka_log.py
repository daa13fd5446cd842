"""Reading whole topics as a stranger would: read_committed, from the first offset to the last."""

import json
import uuid
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from infra.kafka import client_config, partitions
from infra.settings import KafkaSettings


def read(kafka: KafkaSettings, topic: str) -> list[Message]:
    """Every committed message of a topic, by partition and offset."""
    consumer = Consumer(
        client_config(kafka)
        | {
            "group.id": f"reader-{uuid.uuid4().hex}",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    open_ends = set(range(partitions(kafka)[topic]))
    consumer.assign([TopicPartition(topic, p, 0) for p in open_ends])
    messages = []
    while open_ends:
        for message in consumer.consume(10_000, 1):
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                open_ends.discard(message.partition())
            else:
                raise AssertionError(error)
    consumer.close()
    return sorted(messages, key=lambda m: (m.partition(), m.offset()))


def values(kafka: KafkaSettings, topic: str) -> list[dict[str, Any]]:
    """The JSON values of a topic."""
    return [json.loads(message.value() or b"null") for message in read(kafka, topic)]
