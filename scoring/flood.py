"""Keeps a flood out of a log: poison, or a broker that is away, would fill the disk with the same line."""

import logging
import time
from collections.abc import Callable

_MOST = 5
_SECONDS = 60.0


class FloodFilter(logging.Filter):
    """Lets a line of code log some times a minute; the first time after it, if one comes, tells how many were left out.

    Errors all pass.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Args: `clock` tells seconds."""
        super().__init__()
        self._clock = clock
        self._minutes: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is told; the first one of a new minute says how many were not."""
        if record.levelno >= logging.ERROR:
            return True
        place, now = (record.pathname, record.lineno), self._clock()
        began, count = self._minutes.get(place, (now, 0))
        if now - began >= _SECONDS:
            if count > _MOST:
                record.msg = f"{record.msg} ({count - _MOST:,} more like it were left out)"
            began, count = now, 0
        self._minutes[place] = began, count + 1
        return count < _MOST
