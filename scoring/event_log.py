"""The newest events of each key in columns: what `scoring.history` looks back into."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

_FIRST_ROOM = 1_024
# Rows that look back together: fewer of them, and the fixed cost of a step shows; more, and what they see falls out of
# the processor's cache between the steps.
_BLOCK_ROWS = 256


class LookBack(NamedTuple):
    """What some rows look back on: matrices of [events, rows], the oldest event first, the newest directly before."""

    rows: NDArray[np.intp]
    """Which rows; at least two, if need be the same twice: numpy adds along the first axis in its order then."""
    event: NDArray[np.int64]
    """Places in the log."""
    there: NDArray[np.bool_]
    """Whether there is an event to look at; rows see different numbers of them."""


class EventLog:
    """Events by key; those of one key lie side by side, in the order in which they were added.

    A key whose run is full moves to the end of the columns, with twice the room of what it still needs: its newest
    `keep` events that are not forgotten. When the end is reached, everything that is still needed is packed anew. So
    the columns hold a small multiple of what is needed, and adding an event costs the same however many there are.
    """

    def __init__(self, keep: int, columns: Mapping[str, DTypeLike]):
        """Args: `columns` by name; every log has the column `mark` besides, which never falls within a key."""
        self.keep = keep
        self._columns = {name: np.empty(0, kind) for name, kind in {"mark": np.int64, **columns}.items()}
        self._start, self._size, self._capacity = (np.zeros(0, np.int64) for _ in range(3))
        self._end = 0

    def take(self, column: str, places: NDArray[np.int64]) -> NDArray:
        """What a column holds at these places; anything where there is no event."""
        return self._columns[column].take(places, mode="clip")

    @property
    def held(self) -> int:
        """How many events it holds, among them some that are not needed any more."""
        return int(self._size.sum())

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        arrays = (*self._columns.values(), self._start, self._size, self._capacity)
        return sum(array.nbytes for array in arrays)

    def append(
        self, keys: NDArray[np.intp], values: Mapping[str, NDArray], forgotten: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Add events.

        Args:
            keys: of each event, from 0 on; at least one.
            values: by column, one for each event; others may be among them.
            forgotten: events with a lower mark will never be asked for again.

        Returns:
            The place of each event, and how many events of its key lie directly before it: all that are not
            forgotten, up to `keep`, or more.
        """
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        unique = ordered[first]
        counts = np.diff(np.append(first, len(keys)))
        rank = np.empty(len(keys), np.int64)
        rank[order] = np.arange(len(keys)) - np.repeat(first, counts)
        self._know(int(unique[-1]))
        self._make_room(unique, counts, forgotten)
        before = self._size[keys] + rank
        places = self._start[keys] + before
        for name, column in self._columns.items():
            column[places] = values[name]
        self._size[unique] += counts
        return places, before

    def freeze(self) -> "EventLog":
        """This log as it is now, to be read while this one goes on.

        The columns are shared: where an event was written, nothing else is ever written.
        """
        frozen = EventLog(self.keep, {})
        frozen._columns = dict(self._columns)
        frozen._start, frozen._size = self._start.copy(), self._size.copy()
        return frozen

    def parts(self, events: int, forgotten: int) -> Iterator[dict[str, NDArray]]:
        """What is needed, key by key: the columns and `key`, about so many events at once. `append` takes them again.

        Args:
            events: in a part.
            forgotten: events with a lower mark are left out.
        """
        keys = np.flatnonzero(self._size)
        part = np.cumsum(np.minimum(self._size[keys], self.keep)) // events
        for some in np.split(keys, np.flatnonzero(np.diff(part)) + 1):
            start, kept = self._needed(some, forgotten)
            if kept.any():
                places = runs(start, kept)
                yield {"key": np.repeat(some, kept)} | {name: self.take(name, places) for name in self._columns}

    def look_back(
        self, places: NDArray[np.int64], before: NDArray[np.int64], oldest: NDArray[np.int64]
    ) -> Iterator[LookBack]:
        """What rows see of their keys' pasts: the newest `keep` events before them.

        Args:
            places: of the rows, as `append` gave them with `before`; until the next `append`.
            before: how many events of its key lie before each.
            oldest: the lowest mark that each row sees.

        Yields:
            Blocks of rows that see about as much as each other. Together they are all rows.
        """
        first = self._first_from(oldest, places - np.minimum(before, self.keep), places)
        seen = places - first
        order = np.argsort(seen, kind="stable")
        for at in range(0, len(order), _BLOCK_ROWS):
            rows = order[at : at + _BLOCK_ROWS]
            most = max(int(seen[rows[-1]]), 1)
            if len(rows) == 1:
                rows = rows.repeat(2)
            event = places[rows] - np.arange(most, 0, -1)[:, None]
            yield LookBack(rows, event, event >= first[rows])

    def _first_from(
        self, mark: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The first place with this mark or a higher one, between two places of a key's run; else `high`."""
        for _ in range(self.keep.bit_length()):
            middle = (low + high) >> 1
            lower = (self.take("mark", middle) < mark) & (low < high)
            low, high = np.where(lower, middle + 1, low), np.where(lower, high, middle)
        return low

    def _know(self, key: int) -> None:
        missing = key + 1 - len(self._start)
        if missing > 0:
            grown = max(missing, len(self._start))
            self._start, self._size, self._capacity = (
                np.pad(array, (0, grown)) for array in (self._start, self._size, self._capacity)
            )

    def _make_room(self, keys: NDArray[np.intp], extra: NDArray[np.int64], forgotten: int) -> None:
        """Let each key have room for `extra` more events."""
        full = self._size[keys] + extra > self._capacity[keys]
        if not full.any():
            return
        needed = 2 * (np.minimum(self._size[keys], self.keep) + extra)
        if self._end + int(needed[full].sum()) > len(self._columns["mark"]):
            self._pack(int(needed.sum()), forgotten)
            full = self._size[keys] + extra > self._capacity[keys]
        keys, extra = keys[full], extra[full]
        start, kept = self._needed(keys, forgotten)
        self._place(keys, start, kept, 2 * (kept + extra), self._columns)

    def _pack(self, needed: int, forgotten: int) -> None:
        """Copy what is needed into new columns, with room for half as much again in each run and as much behind them.

        So half of all that is kept is added before it is copied again, without a run that moves.
        """
        keys = np.flatnonzero(self._size)
        start, kept = self._needed(keys, forgotten)
        capacity = kept + (kept + 1) // 2
        room = max(_FIRST_ROOM, int(capacity.sum() + kept.sum() // 2) + needed)
        columns = {name: np.empty(room, column.dtype) for name, column in self._columns.items()}
        self._end = 0
        self._place(keys, start, kept, capacity, columns)
        self._columns = columns

    def _needed(self, keys: NDArray[np.intp], forgotten: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the events begin that each key still needs, and how many they are."""
        size = self._size[keys]
        kept = np.minimum(size, self.keep)
        start = self._start[keys] + size - kept
        old = self._columns["mark"][runs(start, kept)] < forgotten
        dropped = np.bincount(np.repeat(np.arange(len(keys)), kept), old, len(keys)).astype(np.int64)
        return start + dropped, kept - dropped

    def _place(
        self,
        keys: NDArray[np.intp],
        start: NDArray[np.int64],
        kept: NDArray[np.int64],
        capacity: NDArray[np.int64],
        columns: dict[str, NDArray],
    ) -> None:
        """Copy runs of this log to the end of `columns`."""
        to = self._end + np.cumsum(capacity) - capacity
        source, target = runs(start, kept), runs(to, kept)
        for name, column in columns.items():
            column[target] = self._columns[name][source]
        self._start[keys], self._size[keys], self._capacity[keys] = to, kept, capacity
        self._end += int(capacity.sum())


def runs(start: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """`start[0], start[0] + 1, ...` for `length[0]` numbers, then the same of the next, in one array."""
    ends = np.cumsum(length)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(start - (ends - length), length)
