"""The output side of the loop: one Kafka transaction for a batch, or none of it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from infra.daemon import LATE_SECONDS, DaemonThread
from infra.kafka import client_config, init_transactions
from infra.settings import KafkaSettings, ScoringSettings

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

Committed = Callable[[int], None]
"""Told, in the thread that scores, that a batch is committed, and when, by `time.perf_counter_ns()`."""


class Aborted(Exception):
    """The transaction was not committed; the batch must be taken again."""


class _Client:
    """One of the two clients of librdkafka, and the thread in which its calls wait."""

    def __init__(self, config: dict[str, Any], topic: str):
        self._config, self._topic = config, topic
        self._thread = DaemonThread("commit")
        self.producer: Producer | None = None

    def start(self, timeout: float) -> Producer:
        """Make it, and end what its predecessor left under way."""
        producer = Producer(self._config)
        init_transactions(producer, self._topic, timeout)
        self.producer = producer
        return producer

    def submit(self, call: Callable[..., int], *arguments: Any) -> "Future[int]":
        """Run a call in its thread."""
        return self._thread.submit(call, *arguments)

    def throw_away(self, busy: bool) -> None:
        """With its thread if a call is under way, which may never come back: until then nobody may touch the client."""
        if busy:
            self._thread.close()
            self._thread = DaemonThread("commit")
        elif self.producer is not None:
            self.producer.purge()
        self.producer = None

    def close(self) -> None:
        """Let go of it."""
        self._thread.close()
        self.producer = None


@dataclass(frozen=True)
class _Transaction:
    client: _Client
    committed: Committed
    offsets_sent: threading.Event
    sent: threading.Event
    """All of it is with Kafka, or never will be."""
    ends: "Future[int]"


class TransactionalProducer:
    """Sends the results of a batch together with its input offsets.

    Two clients take turns, each with a transactional id of its own. While the transaction of one ends, the other's can
    begin and take its records and offsets along; it ends when the one before is committed, or never. One client would
    have to wait for the answer, and then for the markers that the broker writes after it.

    librdkafka has no second version of the transaction protocol (KIP-890): after a call whose end is not known,
    a late commit or abort can hit the next transaction. So after anything that is not a commit both clients are thrown
    away, and `init_transactions` of their successors ends what they had under way.
    """

    def __init__(self, kafka: KafkaSettings, scoring: ScoringSettings, slot: str):
        """`slot` names this producer's place for good: its successor after a crash fences it at once."""
        self._timeout = float(scoring.transaction_timeout_seconds)
        self._limit = self._timeout + LATE_SECONDS
        self._patience = _PATIENCE_SECONDS
        config: dict[str, Any] = (
            client_config(kafka)
            | _BATCHING
            | {
                # Readers wait for the transaction of a dead scorer that long.
                "transaction.timeout.ms": scoring.transaction_timeout_seconds * 1000,
                # What the broker cannot do yet is asked for again after this long, each time: by default 100 ms, which
                # makes of a commit of 4 ms one of 105.
                "retry.backoff.ms": 1,
                "retry.backoff.max.ms": 50,
                "linger.ms": 5,
            }
        )
        ids = (f"{scoring.group_id}-{slot}.{turn}" for turn in range(2))
        self._idle = deque(_Client(config | {"transactional.id": each}, kafka.topics.predictions) for each in ids)
        self._open: deque[_Transaction] = deque()

    def send(
        self, outputs: "Iterable[Output]", book: list[TopicPartition], group_metadata: object, committed: Committed
    ) -> None:
        """Produce the outputs and begin to commit them with the offsets of their input. Only when it is `ready`.

        Raises:
            Aborted: nothing of it is visible; take everything again from the committed offsets.
        """
        client = self._idle[0]
        try:
            producer = client.producer or client.start(self._timeout)
            producer.begin_transaction()
            for output in outputs:
                output.produce(producer)
        except (KafkaException, BufferError) as error:
            self._throw_away()
            raise Aborted(str(error)) from error
        before = self._open[-1].ends if self._open else None
        offsets_sent, sent = threading.Event(), threading.Event()
        ends = client.submit(self._commit, producer, book, group_metadata, offsets_sent, sent, before)
        self._open.append(_Transaction(client, committed, offsets_sent, sent, ends))
        self._idle.popleft()

    def _commit(
        self,
        producer: Producer,
        book: list[TopicPartition],
        group_metadata: object,
        offsets_sent: threading.Event,
        sent: threading.Event,
        before: "Future[int] | None",
    ) -> int:
        """In the client's thread: send what is left, and end the transaction once the one before has ended well."""
        deadline = time.monotonic() + self._timeout
        try:
            try:
                producer.send_offsets_to_transaction(book, group_metadata, self._timeout)
            finally:
                offsets_sent.set()
            if unsent := producer.flush(max(deadline - time.monotonic(), 0.0)):
                raise Aborted(f"Kafka did not take {unsent} messages in time")
        finally:
            sent.set()
        if before is not None:
            before.result(max(deadline - time.monotonic(), 0.0))
        producer.commit_transaction(max(deadline - time.monotonic(), 0.0))
        return time.perf_counter_ns()

    def ready(self) -> None:
        """Wait until the next batch may be sent: the newest is with Kafka as a whole, so that outputs stay in order.

        Raises:
            Aborted: take everything again from the committed offsets.
        """
        self._collect()
        if self._open:
            newest = self._open[-1]
            self._await_offsets(newest)
            if not newest.sent.wait(self._limit):
                raise self._left("sending messages", self._limit)
        self._collect()

    def _collect(self) -> None:
        """Of the transactions under way, those that have ended, and the oldest if no client is idle."""
        while self._open and (not self._idle or self._open[0].ends.done()):
            self._await_end()

    def settle(self) -> None:
        """Wait for the end of all commits that `send` began.

        Raises:
            Aborted: take everything again from the committed offsets.
        """
        while self._open:
            self._await_end()

    def _await_end(self) -> None:
        oldest = self._open[0]
        self._await_offsets(oldest)
        try:
            ended_ns = oldest.ends.result(self._limit)
        except TimeoutError as error:
            raise self._left("a commit", self._limit) from error
        except (KafkaException, Aborted) as error:
            self._throw_away()
            raise Aborted(str(error)) from error
        self._idle.append(self._open.popleft().client)
        self._patience = _PATIENCE_SECONDS
        oldest.committed(ended_ns)

    def _await_offsets(self, transaction: _Transaction) -> None:
        if not transaction.offsets_sent.wait(self._patience):
            waited, self._patience = self._patience, min(2 * self._patience, self._limit)
            raise self._left("sending offsets", waited)

    def _left(self, call: str, waited: float) -> Aborted:
        self._throw_away()
        return Aborted(f"Kafka's client has not come back from {call} for {waited:g} s")

    def _throw_away(self) -> None:
        for client in self._idle:
            client.throw_away(busy=False)
        while self._open:
            transaction = self._open.popleft()
            ended = transaction.ends.done()
            if ended and not transaction.ends.exception():
                transaction.committed(transaction.ends.result())
            transaction.client.throw_away(busy=not ended)
            self._idle.append(transaction.client)

    def recover(self) -> None:
        """End what thrown-away clients left under way; the committed offsets are final after that.

        Raises:
            KafkaException: the broker does not answer; nothing may be taken before it does.
        """
        for client in self._idle:
            if client.producer is None:
                client.start(self._timeout)

    def close(self) -> None:
        """Let the commits that are under way end. An open transaction is left to be fenced or to time out."""
        wait([transaction.ends for transaction in self._open], self._limit)
        for client in (*self._idle, *(transaction.client for transaction in self._open)):
            client.close()


class IdempotentProducer:
    """Sends the results of a batch, and commits its offsets when they have arrived: at least once.

    Readers see a prediction as soon as it is written. What is between the two calls when something fails is sent again.
    """

    def __init__(self, kafka: KafkaSettings, scoring: ScoringSettings, commit: Callable[[list[TopicPartition]], None]):
        """`commit` begins to commit offsets, in the thread that settles; it may raise `KafkaException`."""
        self._timeout = float(scoring.transaction_timeout_seconds)
        self._limit = self._timeout + LATE_SECONDS
        self._commit_offsets = commit
        self._thread = DaemonThread("flush")
        self._open: tuple[Future[int], list[TopicPartition], Committed] | None = None
        self._failure: KafkaError | None = None
        self._config: dict[str, Any] = (
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
        self._producer = Producer(self._config)

    def _on_failure(self, error: KafkaError, _: Message) -> None:
        self._failure = self._failure or error

    def send(self, outputs: "Iterable[Output]", book: list[TopicPartition], _: object, committed: Committed) -> None:
        """Produce the outputs and begin to wait for them; only when it is `ready`.

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
        self._open = self._thread.submit(self._flush, self._producer), book, committed

    def ready(self) -> None:
        """Wait until the next batch may be sent: the one before is committed.

        Raises:
            Aborted: take it again from the committed offsets.
        """
        self.settle()

    def settle(self) -> None:
        """Wait until the outputs that `send` began to write have arrived, and let their input be committed.

        Raises:
            Aborted: they have not; take the batch again from the committed offsets.
        """
        if self._open is None:
            return
        (arrives, book, committed), self._open = self._open, None
        try:
            arrived_ns = arrives.result(self._limit)
            self._commit_offsets(book)
        except TimeoutError as error:
            self._thread.close()
            self._thread = DaemonThread("flush")
            raise Aborted(f"Kafka's client has not come back from sending for {self._limit:.0f} s") from error
        except KafkaException as error:
            raise Aborted(str(error)) from error
        committed(arrived_ns)

    def _flush(self, producer: Producer) -> int:
        unsent = producer.flush(self._timeout)
        if unsent or self._failure:
            producer.purge()
            raise Aborted(f"{unsent} messages were not sent: {self._failure or 'Kafka did not take them in time'}")
        return time.perf_counter_ns()

    def recover(self) -> None:
        """Begin with a new client: one that met a fatal error, such as a log that has lost its end, sends no more.

        Without transactions, nothing that was left under way moves the committed offsets.
        """
        self._producer = Producer(self._config)

    def close(self) -> None:
        """Let what is under way end."""
        if self._open is not None:
            wait((self._open[0],), self._limit)
        self._thread.close()


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
