"""Whether a system answers, and since when it does or does not."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class State:
    """How a system is."""

    name: str
    up: bool
    since: datetime
    detail: str


class Watched:
    """The state of one system, set by all who talk to it and read by every page: it is up if none of them misses it."""

    def __init__(self, name: str):
        self._lock = threading.Lock()
        self._state = State(name, False, datetime.now(UTC), "not reached yet")
        self._missed: dict[str, str] = {}

    @property
    def state(self) -> State:
        """The newest state."""
        return self._state

    def up(self, who: str = "") -> None:
        """It answers the one of those who talk to it."""
        with self._lock:
            self._missed.pop(who, None)
            self._set()

    def away(self, detail: object, who: str = "") -> None:
        """It does not."""
        with self._lock:
            self._missed[who] = str(detail)
            self._set()

    def _set(self) -> None:
        before, up = self._state, not self._missed
        since = before.since if before.up == up else datetime.now(UTC)
        self._state = State(before.name, up, since, next(iter(self._missed.values()), ""))
