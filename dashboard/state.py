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
    """The state of one system, set by whoever talks to it and read by every page."""

    def __init__(self, name: str):
        self._lock = threading.Lock()
        self._state = State(name, False, datetime.now(UTC), "not reached yet")

    @property
    def state(self) -> State:
        """The newest state."""
        return self._state

    def up(self) -> None:
        """It answers."""
        self._set(True, "")

    def away(self, detail: object) -> None:
        """It does not."""
        self._set(False, str(detail))

    def _set(self, up: bool, detail: str) -> None:
        with self._lock:
            before = self._state
            since = before.since if before.up == up else datetime.now(UTC)
            self._state = State(before.name, up, since, detail)
