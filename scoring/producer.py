"""The output side of the loop: one Kafka transaction for a batch, or none of it."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from infra.daemon import LATE_SECONDS, DaemonThread
from infra.kafka import client_config, commit_with_offsets
from infra.settings import KafkaSettings, ScoringSettings

logger = logging.getLogger(__name__)

# How long the offsets of a batch may take to be sent: usually some ms. What is left too early costs a batch that is
# scored again, so it may take twice as long the next time.
_PATIENCE_SECONDS = 3.0
PARTITION_BY_KEY = -1  # librdkafka's RD_KAFKA_PARTITION_UA
_BATCHING: dict[str, Any] = {
    "compression.type": "lz4",
    "batch.size": 1_000_000,
    "batch.num.messages": 100_000,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 1_048_576,
}


class Aborted(Exception):
    """The transaction was not committed; the batch must be taken again."""


class _Committer:
    """Commits in a thread of its own, one batch at a time."""

    rest_seconds = 0.0
    """How long after a commit a small batch should go on growing before it is sent."""

    def __init__(self, timeout: float):
        """`timeout`: seconds that a commit may take."""
        self._timeout = timeout
        self._limit = timeout + LATE_SECONDS
        self._thread = DaemonThread("commit")
        self._commit: Future[int] | None = None

    def settle(self) -> int:
        """Wait for the end of the commit that `send` began; when it ended, by `time.perf_counter_ns()`.

        Raises:
            Aborted: take the batch again from the committed offsets.
        """
        commit, self._commit = self._commit, None
        if commit is None:
            return time.perf_counter_ns()
        try:
            return commit.result(self._limit)
        except TimeoutError as error:
            self._leave()
            raise Aborted(f"Kafka's client has not come back from a commit for {self._limit:.0f} s") from error
        except KafkaException as error:
            self._abort(error)
            raise Aborted(str(error)) from error

    def _abort(self, error: Exception) -> None:
        """Undo what is left of a batch whose commit failed."""

    def _leave(self) -> None:
        """Go on without the thread, which may never come back; if it does, it ends."""
        self._thread.close()
        self._thread = DaemonThread("commit")

    def close(self) -> None:
        """Let the commit that is under way end."""
        if self._commit is not None:
            wait((self._commit,), self._limit)
        self._thread.close()


class TransactionalProducer(_Committer):
    """Sends the results of a batch together with its input offsets.

    librdkafka has no second version of the transaction protocol (KIP-890): after a call whose end is not known,
    a late commit or abort can hit the next transaction. So after any such error the producer is thrown away, and
    `init_transactions` of its successor fences what it had under way.
    """

    # Partitions cannot join a transaction before the markers of the last one are written, and librdkafka asks again
    # after 20 ms, whatever `retry.backoff.ms` says: without a rest one small batch in 25, with it one in 100.
    rest_seconds = 0.0025

    def __init__(self, kafka: KafkaSettings, scoring: ScoringSettings, slot: str):
        """`slot` names this producer's place for good: its successor after a crash fences it at once."""
        super().__init__(float(scoring.transaction_timeout_seconds))
        self._config: dict[str, Any] = (
            client_config(kafka)
            | _BATCHING
            | {
                "transactional.id": f"{scoring.group_id}-{slot}",
                # Readers wait for the transaction of a dead scorer that long.
                "transaction.timeout.ms": scoring.transaction_timeout_seconds * 1000,
                # The broker answers a commit before its markers are written, and refuses the next transaction's first
                # records and offsets until they are (CONCURRENT_TRANSACTIONS). librdkafka asks again after this long,
                # each time: by default 100 ms, which makes of a commit of 4 ms one of 105.
                "retry.backoff.ms": 1,
                "retry.backoff.max.ms": 50,
                "linger.ms": 5,
            }
        )
        self._producer: Producer | None = None
        self._offsets_sent, self._patience = threading.Event(), _PATIENCE_SECONDS

    def send(self, outputs: "Iterable[Output]", book: list[TopicPartition], group_metadata: object) -> None:
        """Produce the outputs and begin to commit them with the offsets of their input; `settle` waits for the end.

        Raises:
            Aborted: nothing of it is visible; take the batch again from the committed offsets.
        """
        try:
            producer = self._producer or self._start()
            producer.begin_transaction()
            for output in outputs:
                output.produce(producer)
        except (KafkaException, BufferError) as error:
            self._abort(error)
            raise Aborted(str(error)) from error
        self._offsets_sent = threading.Event()
        self._commit = self._thread.submit(self._commit_with, producer, book, group_metadata, self._offsets_sent)

    def _commit_with(
        self, producer: Producer, book: list[TopicPartition], group_metadata: object, offsets_sent: threading.Event
    ) -> int:
        commit_with_offsets(producer, book, group_metadata, self._timeout, self._timeout, offsets_sent)
        return time.perf_counter_ns()

    def settle(self) -> int:
        """Wait for the end of the commit that `send` began; when it ended, by `time.perf_counter_ns()`.

        Raises:
            Aborted: take the batch again from the committed offsets.
        """
        if self._commit is None:
            return super().settle()
        if not self._offsets_sent.wait(self._patience):
            self._commit = None
            self._leave()
            waited, self._patience = self._patience, min(2 * self._patience, self._limit)
            raise Aborted(f"Kafka's client has not come back from sending offsets for {waited:g} s")
        ended = super().settle()
        self._patience = _PATIENCE_SECONDS
        return ended

    def recover(self) -> None:
        """End what a thrown-away producer left under way; the committed offsets are final after that.

        Raises:
            KafkaException: the broker does not answer; nothing may be taken before it does.
        """
        if self._producer is None:
            self._start()

    def _start(self) -> Producer:
        producer = Producer(self._config)
        producer.init_transactions(self._timeout)
        self._producer = producer
        return producer

    def _abort(self, error: Exception) -> None:
        producer, self._producer = self._producer, None
        cause = error.args[0] if isinstance(error, KafkaException) else None
        if producer is None:
            return
        if isinstance(cause, KafkaError) and cause.txn_requires_abort():
            try:
                producer.abort_transaction(self._timeout)
            except KafkaException as failed:
                logger.warning("abort failed, starting a new producer: %s", failed)
            else:
                self._producer = producer
                return
        # Whatever else it was, its end is not known. Drop what is queued; the successor's epoch ends the rest.
        producer.purge()

    def _leave(self) -> None:
        """Without the producer too, which nobody may touch while a call of it is under way."""
        super()._leave()
        self._producer = None

    def close(self) -> None:
        """Let go of the producer. An open transaction is left to be fenced or to time out."""
        super().close()
        self._producer = None


class IdempotentProducer(_Committer):
    """Sends the results of a batch, and commits its offsets when they have arrived: at least once.

    Readers see a prediction as soon as it is written. What is between the two calls when something fails is sent again.
    """

    def __init__(self, kafka: KafkaSettings, scoring: ScoringSettings, commit: Callable[[list[TopicPartition]], None]):
        """`commit` begins to commit offsets, in the thread that settles; it may raise `KafkaException`."""
        super().__init__(float(scoring.transaction_timeout_seconds))
        self._commit_offsets = commit
        self._book: list[TopicPartition] = []
        self._failure: KafkaError | None = None
        self._producer = Producer(
            client_config(kafka)
            | _BATCHING
            | {
                "enable.idempotence": True,
                "linger.ms": 0,
                "message.timeout.ms": scoring.transaction_timeout_seconds * 1000,
                "delivery.report.only.error": True,
                "on_delivery": self._on_failure,
            }
        )

    def _on_failure(self, error: KafkaError, _: Message) -> None:
        self._failure = self._failure or error

    def send(self, outputs: "Iterable[Output]", book: list[TopicPartition], _: object) -> None:
        """Produce the outputs and begin to wait for them; `settle` waits for the end.

        Raises:
            Aborted: take the batch again from the committed offsets.
        """
        self._failure = None
        try:
            for output in outputs:
                output.produce(self._producer)
        except (KafkaException, BufferError) as error:
            self._producer.purge()
            raise Aborted(str(error)) from error
        self._book = book
        self._commit = self._thread.submit(self._flush)

    def settle(self) -> int:
        """Wait until the outputs that `send` began to write have arrived, and let their input be committed.

        Raises:
            Aborted: they have not; take the batch again from the committed offsets.
        """
        book, self._book = self._book, []
        arrived_ns = super().settle()
        if book:
            try:
                self._commit_offsets(book)
            except KafkaException as error:
                raise Aborted(str(error)) from error
        return arrived_ns

    def _flush(self) -> int:
        unsent = self._producer.flush(self._timeout)
        if unsent or self._failure:
            self._producer.purge()
            raise Aborted(f"{unsent} messages were not sent: {self._failure or 'Kafka did not take them in time'}")
        return time.perf_counter_ns()

    def recover(self) -> None:
        """Nothing: without transactions, nothing that was left under way moves the committed offsets."""


class Output:
    """Messages for one topic."""

    def __init__(self, topic: str, messages: list[dict[str, Any]], partition: int = PARTITION_BY_KEY):
        """Args: `messages` have a key and a value; a `partition` of their own would be ignored by librdkafka."""
        self.topic, self.messages, self.partition = topic, messages, partition

    def produce(self, producer: Producer) -> None:
        """Hand the messages over.

        Raises:
            KafkaException: a message was refused.
            BufferError: the queue is full; the batch is larger than the queue may be.
        """
        if not self.messages:
            return
        queued = producer.produce_batch(self.topic, self.messages, self.partition)
        if queued != len(self.messages):
            refused = next(m["_error"] for m in self.messages if "_error" in m)
            raise refused if isinstance(refused, KafkaException) else KafkaException(refused)
