"""Sends transactions to Kafka: as fast as it goes or at a rate, each row exactly once even over retries.

How far a seeding has come is itself in Kafka, as the offset of a consumer group that nobody consumes with,
and it is committed in the same Kafka transaction as the rows. Whoever seeds again with the same `seed_id`
takes up after the last row that readers can see.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import MAXYEAR, date
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from infra.daemon import LATE_SECONDS, DaemonThread
from infra.errors import InputError, TerminalError, TransientError
from infra.kafka import REQUEST_TIMEOUT_SECONDS, client_config, init_transactions, last_records, patiently
from infra.kafka_errors import REFUSED_RECORD, lost_or_explained
from infra.settings import KafkaSettings
from infra.transaction_sources import Records, Source

# Rows in one Kafka transaction. A commit waits 10-30 ms for the broker whatever its size.
COMMIT_ROWS = 100_000
# At a rate, a commit this often: readers (read_committed) see rows only then.
PACED_COMMIT_SECONDS = 0.25
# Behind its pace by more than this, the rest is sent later rather than in one burst.
CATCH_UP_SECONDS = 1.0
# Rows handed to librdkafka at once; its queue holds a few of these.
HAND_OVER_ROWS = 10_000
# Longer than a broker's restart, shorter than a reader's patience: an open transaction of a killed seeder
# stops read_committed readers for this long, unless a retry comes first.
TRANSACTION_TIMEOUT_SECONDS = 30
_REPORT_SECONDS = 0.1

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Seeded:
    """What a seeding did.

    Attributes:
        rows: in the topic by now, those of earlier tries included.
        resumed_from: rows that earlier tries had committed.
        seconds: this try took.
    """

    rows: int
    resumed_from: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Of this try."""
        return (self.rows - self.resumed_from) / self.seconds if self.seconds > 0 else 0.0


def seed(
    kafka: KafkaSettings,
    source: Source,
    seed_id: str,
    *,
    rate: float | None = None,
    on_progress: Progress | None = None,
) -> Seeded:
    """Send a source's transactions to the transactions topic, in order per card.

    Args:
        kafka: the cluster; the topic must exist.
        source: the rows.
        seed_id: names this seeding. The same one again goes on after the last committed row.
        rate: rows per second; left out: as fast as it goes.
        on_progress: called after each commit with the rows committed so far, and the total if known.

    Raises:
        TransientError: Kafka did not take it; call again with the same `seed_id`. The producer is thrown away
            in any case: after a timeout nobody knows whether a commit went through, and only a new producer
            of the same transactional id settles that (librdkafka#5423).
        TerminalError: a person must mend something first.
    """
    if rate is not None and rate <= 0:
        raise TerminalError(f"the rate must be above 0 rows per second, not {rate}")
    started = time.monotonic()
    try:
        with ThreadPoolExecutor(1, "seeding") as pool, _Seeding(kafka, source.identity, seed_id) as seeding:
            first = seeding.sent
            report = on_progress or (lambda _rows, _total: None)
            report(first, source.total)
            for records in _batches(_ahead(source.records(first), pool), rate):
                seeding.send(records)
                report(seeding.sent, source.total)
            return Seeded(seeding.sent, first, time.monotonic() - started)
    except KafkaException as error:
        raise lost_or_explained(error, f"cannot seed {kafka.topics.transactions}") from error


class _Dated(msgspec.Struct):
    transaction_date: str


def newest_day(kafka: KafkaSettings) -> date | None:
    """The latest day among the newest transactions of each partition; None where there are none that have a date.

    Raises:
        TransientError: Kafka does not answer.
    """
    days = []
    for record in last_records(kafka, kafka.topics.transactions):
        # What cannot be read is a dead letter, and none of our business.
        with suppress(msgspec.MsgspecError, ValueError):
            days.append(
                date.fromisoformat(msgspec.json.decode(record.value() or b"", type=_Dated).transaction_date[:10])
            )
    # Simulated time goes on after it, and the calendar ends.
    return max((day for day in days if day.year < MAXYEAR), default=None)


def group_of(seed_id: str) -> str:
    """The consumer group that keeps a seeding's progress, and the transactional id of its producer."""
    return f"fraudflow-seed-{seed_id}"


class _Seeding:
    """A producer, and where it stands."""

    def __init__(self, kafka: KafkaSettings, identity: str, seed_id: str):
        self._topic, self._identity = kafka.topics.transactions, identity
        config = client_config(kafka)
        self._consumer = Consumer(
            config
            | {
                "group.id": group_of(seed_id),
                "enable.auto.commit": False,
                # Makes the offset's reading wait for a transaction that is still open.
                "isolation.level": "read_committed",
            }
        )
        self._producer = Producer(config | _producer_config(seed_id) | {"on_delivery": self._on_failure})
        self._thread = DaemonThread("seeding-commit")
        self._failure: KafkaError | None = None
        self._left = False
        self.sent = 0

    def __enter__(self) -> "_Seeding":
        try:
            # Ends what an earlier try left open, and shuts that try out if it still lives.
            init_transactions(self._producer, self._topic, 2 * REQUEST_TIMEOUT_SECONDS)
            self.sent = self._committed()
        except BaseException:
            self._give_up()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._thread.close()
        if kind is None:
            self._producer.close()
            self._consumer.close()
        else:
            self._give_up()

    def _on_failure(self, error: KafkaError, _message: Message) -> None:
        self._failure = self._failure or error

    def _commit(self, position: TopicPartition, group: object, offsets_sent: threading.Event) -> None:
        """End the transaction, in the time after which the broker ends it by itself."""
        began = time.monotonic()
        try:
            self._producer.send_offsets_to_transaction([position], group, REQUEST_TIMEOUT_SECONDS)
        finally:
            offsets_sent.set()
        self._producer.commit_transaction(max(TRANSACTION_TIMEOUT_SECONDS - (time.monotonic() - began), 0.0))

    def send(self, records: Records) -> None:
        """Commit these records together with the new position."""
        rows = len(records.values)
        self._producer.begin_transaction()
        for start in range(0, rows, HAND_OVER_ROWS):
            self._hand_over(records.part(start, start + HAND_OVER_ROWS), self.sent + start)
        position = TopicPartition(self._topic, 0, self.sent + rows, self._identity)
        group = self._consumer.consumer_group_metadata()
        offsets_sent = threading.Event()
        commit = self._thread.submit(self._commit, position, group, offsets_sent)
        try:
            if not offsets_sent.wait(REQUEST_TIMEOUT_SECONDS + LATE_SECONDS):
                raise TimeoutError
            commit.result(TRANSACTION_TIMEOUT_SECONDS + LATE_SECONDS)
        except TimeoutError as error:
            self._left = True
            raise TransientError("Kafka's client does not come back from a commit") from error
        except KafkaException as error:
            # A row that the broker does not take makes these calls fail, but only its own report tells why, when it is
            # asked for.
            self._producer.poll(_REPORT_SECONDS)
            if self._failure is not None and self._failure.code() in REFUSED_RECORD:
                raise KafkaException(self._failure) from error
            raise
        self.sent += rows

    def _hand_over(self, records: Records, first_row: int) -> None:
        messages: list[dict[str, Any]] = [
            {"key": k, "value": v} for k, v in zip(records.keys, records.values, strict=True)
        ]
        deadline = time.monotonic() + TRANSACTION_TIMEOUT_SECONDS
        while messages:
            taken = self._producer.produce_batch(self._topic, messages)
            if taken == len(messages):
                break
            refused = [(at, m) for at, m in enumerate(messages) if "_error" in m]
            for at, message in refused:
                error = message.pop("_error")
                if error.code() != KafkaError._QUEUE_FULL:
                    # librdkafka would abort while the broker still adds partitions to the transaction: the broker
                    # refuses that, and their readers wait until the transaction times out.
                    self._producer.flush(REQUEST_TIMEOUT_SECONDS)
                    raise InputError("transactions", f"row {first_row + at + 1:,} cannot be sent: {error.str()}")
            # Those refused keep their order, but a later row of a card may have been taken before an earlier
            # one: the queue holds more than one transaction, so that it does not come to this.
            messages = [message for _, message in refused]
            if time.monotonic() > deadline:
                raise TransientError("Kafka takes no more transactions; is the broker there?")
            self._producer.poll(0.05)
        self._producer.poll(0)

    def _committed(self) -> int:
        def ask() -> TopicPartition:
            (found,) = self._consumer.committed([TopicPartition(self._topic, 0)], timeout=2 * REQUEST_TIMEOUT_SECONDS)
            if found.error is not None:
                raise KafkaException(found.error)
            return found

        at = patiently(ask, f"cannot seed {self._topic}")
        if at.offset < 0:
            return 0
        if at.metadata != self._identity:
            raise TerminalError(
                "the transactions are not those that this seeding began with: the file or the simulation "
                "changed. Start a new one."
            )
        return at.offset

    def _give_up(self) -> None:
        """Let readers go on at once; where that fails, the broker does it when the transaction times out."""
        if self._left:  # nobody may touch a producer while a call of it is under way; its successor fences it
            return
        # What they say would hide the error that brought us here. The producer is not closed: that aborts and flushes
        # without an end where the broker is away, and in the soak it went on for minutes when it was back.
        for step in (lambda: self._producer.abort_transaction(5), self._producer.purge, self._consumer.close):
            with suppress(KafkaException):
                step()


def _producer_config(seed_id: str) -> dict[str, Any]:
    return {
        "transactional.id": group_of(seed_id),
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_SECONDS * 1000,
        # As Java clients do it: whoever produces with those puts a card into the same partition.
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "delivery.report.only.error": True,
        "linger.ms": 20,
        "batch.size": 1 << 20,
        # More than the rows of one transaction: the commit empties it.
        "queue.buffering.max.messages": 2 * COMMIT_ROWS,
        "queue.buffering.max.kbytes": 512 << 10,
    }


def _ahead(pieces: Iterator[Records], pool: Executor) -> Iterator[Records]:
    """The pieces, each made while the one before is being sent: making one needs no Kafka, sending it waits."""
    coming = pool.submit(next, pieces, None)
    while (piece := coming.result()) is not None:
        coming = pool.submit(next, pieces, None)
        yield piece


def _batches(pieces: Iterator[Records], rate: float | None) -> Iterator[Records]:
    """The records in the sizes of transactions; with a rate, each when its time has come."""
    size = COMMIT_ROWS if rate is None else max(1, min(COMMIT_ROWS, round(rate * PACED_COMMIT_SECONDS)))
    due = time.monotonic()
    for piece in pieces:
        for start in range(0, len(piece.values), size):
            batch = piece.part(start, start + size)
            if rate is not None:
                now = time.monotonic()
                if now < due:
                    time.sleep(due - now)
                due = max(due, now - CATCH_UP_SECONDS) + len(batch.values) / rate
            yield batch
