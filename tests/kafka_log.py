"""Reading whole topics as a stranger would: read_committed, from the first offset to the last."""

import json
from itertools import chain
from typing import Any

from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, NewPartitions

from infra.kafka import client_config, partitions
from infra.settings import KafkaSettings
from infra.topic_reader import TopicReader
from tests.waiting import until


def grow(kafka: KafkaSettings, topic: str, count: int) -> None:
    """Give a topic so many partitions, and wait until a broker names them.

    The controller has them at once; a producer that asks a broker sooner than the broker has heard of one gives up.
    """
    admin = AdminClient(client_config(kafka))
    admin.create_partitions([NewPartitions(topic, count)])[topic].result(30)
    until(lambda: partitions(kafka)[topic] == count, 30, "the broker's word of the new partitions")


def read(kafka: KafkaSettings, topic: str) -> list[Message]:
    """Every committed message of a topic, by partition and offset.

    Waits for transactions that are still open: the broker answers a commit or an abort before its markers are in every
    partition, and until then readers stop in front of it.
    """
    reader = TopicReader(kafka, topic)
    try:
        messages = list(chain.from_iterable(reader.read(reader.starts(), reader.ends(), lambda _: None)))
    finally:
        reader.close()
    return sorted(messages, key=lambda m: (m.partition(), m.offset()))


def values(kafka: KafkaSettings, topic: str) -> list[dict[str, Any]]:
    """The JSON values of a topic."""
    return [json.loads(message.value() or b"null") for message in read(kafka, topic)]
