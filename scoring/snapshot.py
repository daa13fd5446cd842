"""Snapshots of histories in a topic of their own: they shorten the way back, and are never the truth.

A snapshot is some records of one key: a header, then the events as Arrow tables. In them cards are told by their places
among the customers: their rows are a process's own, and card numbers belong into as few topics as can be. Where it
lies, and the sha256 of all of it, goes with the offsets that are committed afterwards (`scoring.bookmark.Place`). So
one that was not written to its end is never looked for, one that was is found without a search, and whose counts is
decided by the commit, which fences scorers that were left behind.
"""

import hashlib
import io
import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
import polars as pl
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from numpy.typing import NDArray

from infra.errors import FraudflowError, TerminalError, TransientError
from infra.kafka import client_config, partitions
from infra.settings import KafkaSettings
from infra.topic_reader import TopicReader
from scoring.bookmark import SNAPSHOT_LAYOUT, Bookmark, Place
from scoring.features import Features
from scoring.history import CARDS, Clock, History
from scoring.lookup import Customers

logger = logging.getLogger(__name__)

# Half a megabyte: a topic takes records of up to one.
_PIECE_EVENTS = 8_000
_SEND_SECONDS = 30


class Unusable(Exception):
    """A snapshot cannot be used; the log can."""


class _Header(msgspec.Struct, kw_only=True):
    reading: int | None
    highest: int
    bookmarks: list[Bookmark]


class Snapshots:
    """Writes snapshots beside the scoring, one at a time."""

    def __init__(self, kafka: KafkaSettings, features: Features):
        """Args: `features` are those that the histories' numbers are from."""
        self._kafka, self._features = kafka, features
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._written: deque[tuple[int, Place]] = deque()

    @property
    def busy(self) -> bool:
        """Whether one is being written."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, partition: int, position: int, history: History, bookmarks: Iterable[Bookmark]) -> None:
        """Write one; for the caller it takes as long as copying two numbers for each card and merchant.

        Args:
            partition: of the transactions.
            position: the offset behind what the history has seen.
            history: of that partition.
            bookmarks: the places where it could begin.
        """
        customer = self._features.customer
        arguments = partition, position, history.freeze(), list(bookmarks), customer.part, customer.place
        self._thread = threading.Thread(target=self._write, args=arguments, name="snapshot", daemon=True)
        self._thread.start()

    def written(self) -> Iterator[tuple[int, Place]]:
        """The partition and the place of each that has been written to its end since the last call."""
        while self._written:
            yield self._written.popleft()

    def close(self) -> None:
        """Give up what is under way, without waiting for it."""
        self._stopping.set()

    def _write(self, partition: int, position: int, *snapshot: Any) -> None:
        try:
            topic = self._kafka.topics.histories
            count = partitions(self._kafka).get(topic, 0)
            if not count:
                raise TerminalError(f"Kafka has no topic {topic}")
            sending = _Sending(self._kafka, topic, partition % count)
            try:
                for record in records_of(*snapshot):
                    if self._stopping.is_set():
                        return
                    sending.add(record)
                self._written.append((partition, sending.end(position, self._features.numbering)))
            finally:
                sending.close()
        except (FraudflowError, KafkaException) as error:
            logger.warning("no snapshot of the history of partition %d, the log has it all: %s", partition, error)


class _Sending:
    """The records of one snapshot on their way."""

    def __init__(self, kafka: KafkaSettings, topic: str, partition: int):
        self._topic, self._partition, self._key = topic, partition, uuid.uuid4().hex
        self._digest = hashlib.sha256()
        self._offsets: list[int] = []
        self._error: KafkaError | None = None
        self._producer: Producer | None = Producer(
            client_config(kafka)
            | {
                "enable.idempotence": True,
                "compression.type": "lz4",
                "message.timeout.ms": _SEND_SECONDS * 1_000,
                "queue.buffering.max.kbytes": 16_384,
                "on_delivery": self._delivered,
            }
        )

    def add(self, record: bytes) -> None:
        """Send the next record.

        Raises:
            KafkaException: one before was not taken.
        """
        assert self._producer is not None  # noqa: S101
        self._digest.update(record)
        while True:
            self._check()
            try:
                self._producer.produce(self._topic, record, self._key, self._partition)
            except BufferError:
                self._producer.poll(1.0)
            else:
                self._producer.poll(0)
                return

    def end(self, position: int, numbering: str) -> Place:
        """Wait until all of them are there.

        Raises:
            TransientError: they are not.
            KafkaException: one was refused.
        """
        assert self._producer is not None  # noqa: S101
        unsent = self._producer.flush(_SEND_SECONDS)
        self._check()
        if unsent:
            raise TransientError(f"{unsent} of its records were not sent")
        return Place(
            partition=self._partition,
            first=min(self._offsets),
            last=max(self._offsets),
            key=self._key,
            sha256=self._digest.hexdigest(),
            position=position,
            numbering=numbering,
        )

    def close(self) -> None:
        """Let go of the producer here and now: it knows us, and the collector would end it in the scoring thread."""
        self._producer = None

    def _check(self) -> None:
        if self._error is not None:
            raise KafkaException(self._error)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._error = self._error or error
        else:
            self._offsets.append(message.offset() or 0)


def read_snapshot(
    kafka: KafkaSettings, place: Place, features: Features, alive: Callable[[], None]
) -> tuple[History, list[Bookmark]]:
    """A history as it was written, and the places where it could begin.

    Args:
        kafka: where it lies.
        place: as the offset's metadata has it.
        features: those in use.
        alive: called several times a second meanwhile; what it raises ends the reading.

    Raises:
        Unusable: it is of other features or of another layout, not there any more, or damaged.
        TransientError: Kafka does not answer.
    """
    if place.layout != SNAPSHOT_LAYOUT:
        raise Unusable("it is of another layout")
    if place.numbering != features.numbering:
        raise Unusable("it is of other features")
    try:
        reader = TopicReader(kafka, kafka.topics.histories)
        try:
            records = list(_read(reader, place, alive))
        finally:
            reader.close()
    except TerminalError as error:
        raise Unusable(str(error)) from error
    digest = hashlib.sha256()
    for record in records:
        digest.update(record)
    if digest.hexdigest() != place.sha256:
        raise Unusable("its sha256 is another")
    try:
        return restored(records, features.customer, alive)
    except KeyError as error:
        raise Unusable(str(error)) from error


def _read(reader: TopicReader, place: Place, alive: Callable[[], None]) -> Iterator[bytes]:
    starts, ends = reader.starts(), reader.ends()
    if not starts.get(place.partition, 0) <= place.first <= place.last < ends.get(place.partition, 0):
        raise Unusable("retention has deleted it")
    for messages in reader.read({place.partition: place.first}, {place.partition: place.last + 1}, logger.debug, alive):
        for message in messages:
            if message.key() == place.key.encode() and (message.offset() or 0) <= place.last:
                yield message.value() or b""


def records_of(
    frozen: History, bookmarks: list[Bookmark], part: NDArray[np.int32], place: NDArray[np.int32]
) -> Iterator[bytes]:
    """The records of a history that stands still.

    Args:
        frozen: the history.
        bookmarks: the places where it could begin.
        part: of the customers, of each card.
        place: in that part.
    """
    yield msgspec.json.encode(_Header(reading=frozen.clock.reading, highest=frozen.clock.highest, bookmarks=bookmarks))
    for name, events in frozen.parts(_PIECE_EVENTS):
        if name == CARDS:
            card = events.pop("key")
            events |= {"part": part[card], "place": place[card]}
        buffer = io.BytesIO()
        pl.DataFrame(events).write_ipc(buffer)
        yield name.encode() + b"\n" + buffer.getvalue()


def restored(
    records: list[bytes], customers: Customers, alive: Callable[[], None] = lambda: None
) -> tuple[History, list[Bookmark]]:
    """The history of these records, and the places where it could begin.

    Raises:
        TransientError: customers have to be fetched, and cannot be.
        KeyError: there is no such customer.
    """
    header = msgspec.json.decode(records[0], type=_Header)
    history = History(Clock(header.reading, header.highest))
    for record in records[1:]:
        alive()
        name, _, table = record.partition(b"\n")
        frame = pl.read_ipc(table)
        events = {column: frame[column].to_numpy() for column in frame.columns}
        if name.decode() == CARDS:
            events["key"] = customers.rows_at(events.pop("part"), events.pop("place"))
        history.take(name.decode(), events)
    return history, header.bookmarks
