"""The histories of the partitions that a scorer has, each as far as its log was scored, and what brings them back.

With the offsets of a batch goes, as their metadata, the place in the log from which a history can be built anew: an
offset before which everything is forgotten, and the clock as it stood there. So a history need not be stored. Where
there is a snapshot of it, the log is read from there.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from confluent_kafka import Message, TopicPartition
from numpy.typing import NDArray

from infra.settings import KafkaSettings
from infra.topic_reader import TopicReader
from scoring.bookmark import Bookmark, Place, decode_bookmark, encode_bookmark
from scoring.decode import decode_batch
from scoring.features import Batch, Features
from scoring.history import HORIZON, HOUR, Clock, Events, History
from scoring.inputs import events_of, observe
from scoring.snapshot import Snapshots, Unusable, read_snapshot

logger = logging.getLogger(__name__)

# As many rows are read back at once as fit the processor's cache.
_PIECE = 2_000
# Of the events that a history holds, that many must be new before it is written again: what is written stays a few
# times what comes in.
_NEW_SHARE = 4


@dataclass
class _Partition:
    """A history, the offset behind what it has seen, and the places where it could begin."""

    position: int
    history: History = field(default_factory=History)
    bookmarks: deque[Bookmark] = field(default_factory=deque)
    unsaved: int = 0
    """Rows since the last snapshot."""
    snapshot: Place | None = None

    def mark(self, offset: int) -> None:
        """Remember this place, once an hour of the clock."""
        clock = self.history.clock
        if not self.bookmarks or clock.highest - self.bookmarks[-1].highest >= HOUR:
            self.bookmarks.append(Bookmark(start=offset, reading=clock.reading, highest=clock.highest))

    def bookmark(self) -> Bookmark:
        """The newest place before which everything is forgotten."""
        forgotten = self.history.clock.highest - HORIZON
        while len(self.bookmarks) > 1 and self.bookmarks[1].highest < forgotten:
            self.bookmarks.popleft()
        return msgspec.structs.replace(self.bookmarks[0], snapshot=self.snapshot)


class Past:
    """All of them. What it returns depends on the partitions' logs, and on the features' version, alone.

    A dead letter is in no history, but for one that a model had no answer to. Which other rows are dead letters, the
    features decide: with a new version everything is built anew from the log, as if it had always been the version.
    """

    def __init__(self, kafka: KafkaSettings, features: Features, snapshot_rows: int = 0):
        """Args: `snapshot_rows` of a partition, and its history is written again; 0: it never is."""
        self._kafka = kafka
        self._features = features
        self._snapshot_rows = snapshot_rows
        self._snapshots = Snapshots(kafka, features)
        self._partitions: dict[int, _Partition] = {}

    @property
    def nbytes(self) -> int:
        """The memory that the histories take."""
        return sum(partition.history.nbytes for partition in self._partitions.values())

    def histories(self) -> Iterator[tuple[int, int, History]]:
        """Each partition with the offset behind what its history has seen."""
        for number, partition in self._partitions.items():
            yield number, partition.position, partition.history

    def observe(self, batch: Batch, partitions: Sequence[int], offsets: Sequence[int]) -> NDArray[np.float32]:
        """The online inputs of the next rows; `partitions` and `offsets` are those of each row."""

        def observe_one(number: int, events: Events, rows: NDArray[np.intp]) -> NDArray[np.float32]:
            first, last = offsets[rows[0]], offsets[rows[-1]]
            partition = self._partitions.setdefault(number, _Partition(first))
            partition.mark(first)
            # At once, and not when the batch is committed: a history that has seen more than that is built anew.
            partition.position = last + 1
            partition.unsaved += len(rows)
            return partition.history.observe(events)

        return observe(batch, np.array(partitions), observe_one)

    def book(self, book: list[TopicPartition]) -> list[TopicPartition]:
        """The offsets to commit, whose rows have been observed, with the places to begin at as their metadata."""
        for number, place in self._snapshots.written():
            if number in self._partitions:
                self._partitions[number].snapshot = place
        noted = []
        for at in book:
            partition = self._partitions.setdefault(at.partition, _Partition(at.offset))
            partition.position = at.offset
            if not partition.bookmarks:  # nothing but dead letters so far
                partition.mark(at.offset)
            noted.append(TopicPartition(at.topic, at.partition, at.offset, encode_bookmark(partition.bookmark())))
            self._save(at.partition, partition)
        return noted

    def _save(self, number: int, partition: _Partition) -> None:
        if not self._snapshot_rows or partition.unsaved < self._snapshot_rows or self._snapshots.busy:
            return
        if partition.unsaved >= partition.history.held // _NEW_SHARE:
            partition.unsaved = 0
            self._snapshots.begin(number, partition.position, partition.history, partition.bookmarks)

    def close(self) -> None:
        """Write no more snapshots."""
        self._snapshots.close()

    def restore(self, committed: list[TopicPartition], alive: Callable[[], None]) -> None:
        """Bring the histories to the committed offsets.

        One that has seen no more than that goes on from where it is: it is the same, whoever scored in between. Any
        other is built from the log. A scorer without partitions keeps what it has: it may have lost them because
        reading took so long, and goes on from there when it gets them again.

        Args:
            committed: of the partitions that the scorer has; the offset is negative where there is none.
            alive: called several times a second meanwhile; what it raises ends the reading.

        Raises:
            TransientError: the log cannot be read; nothing may be scored before it was.
        """
        if not committed:
            return
        self._partitions = {
            at.partition: self._partitions[at.partition]
            for at in committed
            if at.partition in self._partitions and self._partitions[at.partition].position <= max(at.offset, 0)
        }
        behind = [at for at in committed if at.offset > self._position(at.partition)]
        if behind:
            self._partitions |= self._read_back(behind, alive)

    def _position(self, number: int) -> int:
        return self._partitions[number].position if number in self._partitions else 0

    def _read_back(self, committed: list[TopicPartition], alive: Callable[[], None]) -> dict[int, _Partition]:
        began, rows = time.monotonic(), 0
        reader = TopicReader(self._kafka, self._kafka.topics.transactions)
        try:
            kept = reader.starts()
            built, starts, ends = {}, {}, {}
            for at in committed:
                number = at.partition
                built[number] = self._partitions.get(number) or self._begin(at, alive)
                start = built[number].position
                starts[number], ends[number] = max(start, kept[number]), at.offset
                if kept[number] > start > 0:
                    logger.warning(
                        "partition %d: the log begins at %d, and the history would at %d: until the windows have "
                        "passed, online features miss what retention has deleted",
                        number,
                        kept[number],
                        start,
                    )
            for messages in reader.read(starts, ends, logger.debug, alive):
                for number, of_partition in _by_partition(messages, ends):
                    rows += len(of_partition)
                    self._add(built[number], of_partition)
            for number, partition in built.items():
                partition.position = ends[number]  # behind the markers of transactions, too
        finally:
            reader.close()
        logger.info(
            "read %d rows of %d partitions back, %d of them from a snapshot on, in %.1f s, %.0f MB",
            rows,
            len(built),
            sum(partition.snapshot is not None for partition in built.values()),
            time.monotonic() - began,
            sum(partition.history.nbytes for partition in built.values()) / 1e6,
        )
        return built

    def _begin(self, at: TopicPartition, alive: Callable[[], None]) -> _Partition:
        """A partition's history where it can begin."""
        bookmark = decode_bookmark(at.metadata)
        place = bookmark.snapshot
        if place is not None and place.position <= at.offset:
            try:
                history, bookmarks = read_snapshot(self._kafka, place, self._features, alive)
            except Unusable as error:
                logger.warning("partition %d: its snapshot is not used, the log is: %s", at.partition, error)
            else:
                return _Partition(place.position, history, deque(bookmarks), snapshot=place)
        return _Partition(bookmark.start, History(Clock(bookmark.reading, bookmark.highest)))

    def _add(self, partition: _Partition, messages: list[Message]) -> None:
        for at in range(0, len(messages), _PIECE):
            piece = messages[at : at + _PIECE]
            rows, positions, _ = decode_batch([message.value() for message in piece])
            batch, _ = self._features.build(rows, positions)
            if batch:
                partition.mark(piece[batch.positions[0]].offset() or 0)
                partition.history.add(events_of(batch))
                partition.unsaved += len(batch)
            # Piece by piece: what ends the reading may come between two of them.
            partition.position = (piece[-1].offset() or 0) + 1


def _by_partition(messages: list[Message], ends: dict[int, int]) -> Iterator[tuple[int, list[Message]]]:
    found: dict[int, list[Message]] = {}
    for message in messages:
        number = message.partition() or 0
        if (message.offset() or 0) < ends[number]:
            found.setdefault(number, []).append(message)
    yield from found.items()
