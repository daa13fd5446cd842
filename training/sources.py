"""Where histories come from: files, the simulator, or the topics themselves, all as the bytes that a scorer sees."""

import json
from collections.abc import Iterator

from infra.kafka import last_records, partitions
from infra.partitioner import Partitioner
from infra.settings import KafkaSettings
from infra.topic_reader import TopicReader
from infra.transaction_sources import Source
from training.dataset import Piece


def pieces_of(source: Source, kafka: KafkaSettings) -> Iterator[Piece]:
    """A file or a simulation, as if it were seeded into the transactions topic."""
    partition = Partitioner(partition_count(kafka))
    for records in source.records():
        yield Piece(partition(records.keys), records.values)


def partition_count(kafka: KafkaSettings) -> int:
    """The partitions of the transactions topic; what it would be made with where there is none, or no Kafka."""
    present = partitions(kafka) if kafka.bootstrap_servers else {}
    return present.get(kafka.topics.transactions) or kafka.partitions


def pieces_of_topic(kafka: KafkaSettings) -> Iterator[Piece]:
    """The transactions topic, one partition after the other, so that reading it twice gives the same order.

    Raises:
        TerminalError: there is no such topic.
        TransientError: Kafka does not answer.
    """
    reader = TopicReader(kafka, kafka.topics.transactions)
    try:
        starts, ends = reader.starts(), reader.ends()
        for partition, start in starts.items():
            for messages in reader.read({partition: start}, ends, lambda _: None):
                yield Piece(
                    [partition] * len(messages),
                    [message.value() or b"" for message in messages],
                    [message.timestamp()[1] / 1000 for message in messages],
                )
    finally:
        reader.close()


def topic_identity(kafka: KafkaSettings) -> str:
    """Differs where the transactions topic or the labels differ, be it that they were deleted and made again."""
    found = []
    for topic in (kafka.topics.transactions, kafka.topics.labels):
        reader = TopicReader(kafka, topic)
        try:
            newest = [(m.partition(), m.offset(), m.timestamp()[1]) for m in last_records(kafka, topic)]
            found.append([topic, sorted(reader.starts().items()), sorted(newest)])
        finally:
            reader.close()
    return f"{kafka.bootstrap_servers}:{json.dumps(found)}"
