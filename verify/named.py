"""What answers name at each offset of the input, a number or a value: eight bytes for an offset."""

import numpy as np
from numpy.typing import NDArray


class Named:
    """Digests over the offsets of one partition."""

    def __init__(self, start: int):
        """Args: `start`: an offset below it has no record any more that could be compared."""
        self._start = start
        self._digests = np.zeros(0, np.uint64)  # 0: no answer

    def add(self, offsets: NDArray[np.int64], digests: NDArray[np.uint64]) -> None:
        """Keep what is named at these offsets; of two answers to one offset, the later one's."""
        rows = offsets >= self._start
        at = offsets[rows] - self._start
        self._cover(int(at.max(initial=-1)) + 1)
        self._digests[at] = digests[rows]

    def knows(self, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """At which of these offsets, none below `start`, something is named."""
        return self._at(offsets) != 0

    def others(self, offsets: NDArray[np.int64], digests: NDArray[np.uint64]) -> NDArray[np.int64]:
        """At which of these offsets, none below `start`, something else is named than stands there."""
        named = self._at(offsets)
        return offsets[(named != 0) & (named != digests)]

    def _at(self, offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
        at = offsets - self._start
        seen = at < len(self._digests)
        named = np.zeros(len(offsets), np.uint64)
        named[seen] = self._digests[at[seen]]
        return named

    def _cover(self, count: int) -> None:
        if count > len(self._digests):
            # Half as much again: adding a batch costs no copy of everything before.
            grown = np.zeros(int(count * 1.5), np.uint64)
            grown[: len(self._digests)] = self._digests
            self._digests = grown
