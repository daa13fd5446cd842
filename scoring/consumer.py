"""The input side of the loop: batches from one consumer group, and the way back after an abort."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.kafka import REQUEST_TIMEOUT_SECONDS, client_config
from infra.settings import KafkaSettings, ScoringSettings
from scoring.producer import Aborted

logger = logging.getLogger(__name__)

# A batch is what has arrived: the first message is waited for, the others are taken if they are there. Under
# load the queue is full and batches grow to max_batch; when idle a batch is one message, at once.
IDLE_POLL_SECONDS = 0.2
# A batch smaller than this waits until it can be sent, and takes what comes meanwhile: if it were scored at once, it
# would be sent no earlier. A larger one is scored while it waits.
SMALL_BATCH = 500
# After a kill -9 the group hands the partitions over when the session has timed out.
SESSION_TIMEOUT_MS = 6_000
# The longest that reading a history back may take; a scorer that needs more loses its partitions.
READ_BACK_LIMIT_MS = 900_000


@dataclass
class Taken:
    """A batch of messages, and the offsets to commit once it is done: our own book, never `position()`."""

    messages: list[Message]
    """Sorted by partition, in each as they stand there."""
    partitions: list[int]
    offsets: list[int]
    book: list[TopicPartition]
    at_ns: int
    """When the first of them was taken, by `time.perf_counter_ns()`."""


class Rebalanced(Exception):
    """What was taken may be another scorer's by now; the committed offsets say where to go on."""


class BatchConsumer:
    """Takes batches from the input topic. All its methods belong to the thread that scores.

    While one thread is in a call of a Kafka consumer, every other thread waits for it, and looks once a millisecond
    (confluent-kafka 2.16): a question that the broker answers late would hold up the batches.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        scoring: ScoringSettings,
        ready: Callable[[], None],
        settle: Callable[[], None],
    ):
        """Begin to consume.

        Args:
            kafka: where, and which topic.
            scoring: the group, and the size of batches.
            ready: waits until a batch can be sent; may raise `Aborted`.
            settle: waits until all that was sent is committed; may raise `Aborted`.
        """
        self._topic = kafka.topics.transactions
        self._max_batch = scoring.max_batch
        self._ready, self._settle = ready, settle
        self._rebalanced = False
        self._not_committed: KafkaError | None = None
        self.partitions: frozenset[int] = frozenset()
        """Those that are ours now; from any thread."""
        self._consumer = Consumer(
            client_config(kafka)
            | {
                "group.id": scoring.group_id,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "range",
                "session.timeout.ms": SESSION_TIMEOUT_MS,
                "heartbeat.interval.ms": SESSION_TIMEOUT_MS // 3,
                # While a history is read back nothing is polled, and the group waits for us.
                "max.poll.interval.ms": READ_BACK_LIMIT_MS,
                # Enough for a few of the largest batches; more only grows the memory.
                "queued.max.messages.kbytes": 32_768,
                "queued.min.messages": 4 * scoring.max_batch,
                # Some 100 transactions, or what comes in 5 ms. To be sent each one at once costs the broker a
                # request for each: at 10,000 transactions/s it had no time left for commits.
                "fetch.min.bytes": 20_000,
                "fetch.wait.max.ms": 5,
                # By default fetching rests for a second when the queue is full: a fast scorer empties it earlier.
                "fetch.queue.backoff.ms": 10,
                # Partitions that are added are seen after that long; by default after five minutes.
                "topic.metadata.refresh.interval.ms": 30_000,
                "on_commit": self._committed,
            }
        )
        self._consumer.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def take(self) -> Taken | None:
        """The next batch, or None if nothing came in `IDLE_POLL_SECONDS`. After any error, go back.

        Raises:
            Rebalanced: partitions changed hands meanwhile; nothing of what was taken may be scored.
            KafkaException: the consumer reports an error, or that it could not commit.
            Aborted: the batch before was not committed.
        """
        first = self._consumer.poll(IDLE_POLL_SECONDS)
        at_ns = time.perf_counter_ns()
        messages = [first, *self._more(self._max_batch - 1)] if first is not None else []
        if 0 < len(messages) < SMALL_BATCH:
            self._ready()
            messages += self._more(self._max_batch - len(messages))
        if self._rebalanced:
            raise Rebalanced
        if self._not_committed:
            raise KafkaException(self._not_committed)
        if not messages:
            return None
        error = next(filter(None, map(Message.error, messages)), None)
        if error:
            raise KafkaException(error)
        messages.sort(key=Message.partition)  # type: ignore[arg-type] - a message without error has one, and an offset
        partitions, offsets = list(map(Message.partition, messages)), list(map(Message.offset, messages))
        last: dict[int, int] = dict(zip(partitions, offsets, strict=True))  # type: ignore[arg-type]
        book = [TopicPartition(self._topic, partition, offset + 1) for partition, offset in last.items()]
        return Taken(messages, partitions, offsets, book, at_ns)  # type: ignore[arg-type]

    def _more(self, count: int) -> list[Message]:
        return self._consumer.consume(count, 0) if count else []

    def committed(self) -> list[TopicPartition]:
        """The committed offsets of the assigned partitions, negative where there is none, with their metadata.

        Nothing may be under way that could move them afterwards.

        Raises:
            KafkaException: they cannot be read; nothing may be taken before they were.
        """
        self._rebalanced, self._not_committed = False, None
        assigned = self._consumer.assignment()
        if not assigned:
            return []
        committed = self._consumer.committed(assigned, timeout=REQUEST_TIMEOUT_SECONDS)
        for at in committed:
            if at.error:
                raise KafkaException(at.error)
        return committed

    def go_back(self, committed: list[TopicPartition]) -> None:
        """Go on at the committed offsets: without it, what an aborted transaction had taken is lost.

        Raises:
            KafkaException: nothing may be taken before it worked.
        """
        for at in committed:
            self._consumer.seek(
                TopicPartition(at.topic, at.partition, at.offset if at.offset >= 0 else OFFSET_BEGINNING)
            )

    def group_metadata(self) -> object:
        """The group's generation as it is now; fetched for each transaction, it fences scorers left behind."""
        return self._consumer.consumer_group_metadata()

    def commit(self, book: list[TopicPartition]) -> None:
        """Begin to commit offsets outside of a transaction; `take` says if they could not be."""
        self._consumer.commit(offsets=book, asynchronous=True)

    def _committed(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        self._not_committed = self._not_committed or error

    def close(self) -> None:
        """Leave the group, so that the others take over at once."""
        self._consumer.close()

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._rebalanced = True
        self.partitions = frozenset(p.partition for p in partitions)
        logger.info("assigned %s", sorted(p.partition for p in partitions))

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._rebalanced = True
        self.partitions = frozenset()
        logger.info("gave up %s", sorted(p.partition for p in partitions))
        try:
            # The group waits for this call: whoever gets the partitions begins behind this commit.
            self._settle()
        except Aborted as error:
            # After every rebalance we go back, which is all that an abort asks for.
            logger.warning("batch not committed: %s", error)
