"""How often each offset was seen: one byte for an offset, so that ten million of them are ten megabytes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MOST = 255


class Marks:
    """Counts over the offsets of one partition."""

    def __init__(self) -> None:
        self._base = 0
        self._counts = np.zeros(0, np.uint8)

    def add(self, offsets: Sequence[int] | NDArray[np.int64]) -> None:
        """Count these offsets once more; a count stops at 255."""
        found, times = np.unique(np.asarray(offsets, np.int64), return_counts=True)
        self._cover(int(found[0]), int(found[-1]) + 1)
        at = found - self._base
        self._counts[at] = np.minimum(self._counts[at].astype(np.int64) + times, _MOST)

    def window(self, start: int, stop: int) -> NDArray[np.uint8]:
        """The counts of the offsets from `start` up to `stop`."""
        counts = np.zeros(max(stop - start, 0), np.uint8)
        low, high = max(start, self._base), min(stop, self._base + len(self._counts))
        if low < high:
            counts[low - start : high - start] = self._counts[low - self._base : high - self._base]
        return counts

    @property
    def start(self) -> int:
        """No offset below it was seen."""
        return self._base

    @property
    def stop(self) -> int:
        """The offset after the last one seen; 0 where none was."""
        seen = np.flatnonzero(self._counts)
        return self._base + int(seen[-1]) + 1 if len(seen) else 0

    @property
    def distinct(self) -> int:
        """How many offsets were seen."""
        return int(np.count_nonzero(self._counts))

    def repeated(self) -> tuple[int, NDArray[np.int64]]:
        """How often an offset was seen once too often, and which offsets these are."""
        more = np.flatnonzero(self._counts > 1)
        return int(self._counts[more].sum(dtype=np.int64)) - len(more), more + self._base

    def _cover(self, start: int, stop: int) -> None:
        if not len(self._counts):
            self._base = start
        low, high = min(start, self._base), max(stop, self._base + len(self._counts))
        if low == self._base and high <= self._base + len(self._counts):
            return
        # Half as much again at the end, where it grows: adding a batch costs no copy of everything before.
        grown = np.zeros(int((high - low) * 1.5), np.uint8)
        grown[self._base - low : self._base - low + len(self._counts)] = self._counts
        self._base, self._counts = low, grown
