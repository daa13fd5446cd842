"""How far a consumer group has come in a topic, for those who wait for it or watch it."""

from collections.abc import Collection
from functools import partial

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.kafka import (
    REQUEST_TIMEOUT_SECONDS,
    committed_records,
    partitions,
    partitions_now,
    patiently,
    reader_config,
)
from infra.settings import KafkaSettings

_NO_OFFSETS = "cannot read the group's offsets"


class GroupReader:
    """Reads how far a consumer group has come, without joining it."""

    def __init__(self, kafka: KafkaSettings, group_id: str, topic: str):
        self._topic = topic
        self._count = partitions(kafka).get(topic, 0)
        self._config = reader_config(kafka, group_id)
        self._consumer = Consumer(self._config)
        self._undecided: Consumer | None = None
        """Of those alone who ask whether the group has `drained`: a scorer's health asks for its lag."""

    def committed(self, among: Collection[int] | None = None) -> dict[int, int]:
        """The offset to go on at, by partition, those added since too; partitions without one are left out.

        Args:
            among: these partitions alone.

        Raises:
            TransientError: Kafka does not answer.
            TerminalError: it refuses to.
        """

        def answer() -> list[TopicPartition]:
            # Where there is nothing to ask of, too: whether the broker answers is what some want to know.
            self._count = partitions_now(self._consumer, self._topic, self._count)
            asked = [TopicPartition(self._topic, p) for p in range(self._count) if among is None or p in among]
            # The consumer reads what is committed, and that makes this wait for a commit that is under way.
            found = self._consumer.committed(asked, timeout=REQUEST_TIMEOUT_SECONDS) if asked else []
            failed = next((at.error for at in found if at.error), None)
            if failed:
                raise KafkaException(failed)
            return found

        return {at.partition: at.offset for at in patiently(answer, _NO_OFFSETS) if at.offset >= 0}

    def lag(self, among: Collection[int] | None = None) -> int:
        """Offsets not yet committed by the group; of these partitions alone, if some are named.

        The markers that end a producer's transactions are offsets too, and so are the records of those that were
        aborted: a group that has read everything can stay behind. `drained` looks closer.
        """
        return sum(high - at for at, high in self._spans(among).values())

    def drained(self) -> bool:
        """Whether no record is left that the group has not committed, nor one in a transaction that is not over.

        A producer's commit is answered before its markers are in every partition: until they are, what it wrote is
        behind the end that readers of committed records are told.
        """
        ends = self._undecided_ends()
        spans = self._spans()
        if any(p not in spans or spans[p][1] < end for p, end in ends.items()):
            return False
        behind = [TopicPartition(self._topic, p, at) for p, (at, high) in spans.items() if high > at]
        return next(committed_records(self._consumer, behind), None) is None

    def _undecided_ends(self) -> dict[int, int]:
        """The end of each partition, behind the records of transactions that are not over too."""
        if self._undecided is None:
            self._undecided = Consumer(self._config | {"isolation.level": "read_uncommitted"})
        consumer = self._undecided
        count = patiently(partial(partitions_now, consumer, self._topic, self._count), _NO_OFFSETS)
        return {p: self._end(consumer, TopicPartition(self._topic, p))[1] for p in range(count)}

    def _spans(self, among: Collection[int] | None = None) -> dict[int, tuple[int, int]]:
        """Committed and end offset of each partition; of those too that were added since the last look."""
        committed = self.committed(among)
        spans = {}
        for p in range(self._count):
            if among is None or p in among:
                low, high = self._end(self._consumer, TopicPartition(self._topic, p))
                spans[p] = (max(committed.get(p, low), low), high)
        return spans

    @staticmethod
    def _end(consumer: Consumer, of: TopicPartition) -> tuple[int, int]:
        """The first offset of a partition and its end, as this consumer is told."""
        return patiently(partial(consumer.get_watermark_offsets, of, REQUEST_TIMEOUT_SECONDS), _NO_OFFSETS)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()
        if self._undecided is not None:
            self._undecided.close()
