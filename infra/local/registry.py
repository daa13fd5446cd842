"""`stack.json`: what runs in this stack and where it answers, always whole on disk."""

import json
import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.local import processes
from infra.local.processes import Started
from infra.settings import STACK_FILE


class Registry:
    """The record of one stack. A change is on disk before the call returns: a killed `up` leaves it right."""

    def __init__(self, home: Path):
        self._home = home
        self._path = home / STACK_FILE
        self._lock = threading.Lock()
        content = json.loads(self._path.read_text()) if self._path.is_file() else {}
        self._started = {p["name"]: Started(**p) for p in content.get("processes", [])}
        self._settings: dict[str, Any] = content.get("settings", {})

    @property
    def settings(self) -> dict[str, Any]:
        """What `infra.settings` fills in from here."""
        return self._settings

    def started(self, name: str) -> Started | None:
        """The record of a service, running or dead."""
        return self._started.get(name)

    def all(self) -> list[Started]:
        """The records of all services, in the order of their start."""
        return list(self._started.values())

    def alive(self, name: str) -> Started | None:
        """The record of a service whose process runs."""
        started = self._started.get(name)
        return started if started and processes.find(started, self._home) else None

    def add(self, started: Started) -> Started:
        """Record a process as soon as it exists."""
        with self._lock:
            self._started[started.name] = started
            self._save()
        return started

    def publish(self, **settings: Any) -> None:
        """Tell `infra.settings` addresses that answer."""
        with self._lock:
            self._settings |= settings
            self._save()

    def remove(self) -> None:
        """Forget everything."""
        with self._lock:
            self._started, self._settings = {}, {}
            self._path.unlink(missing_ok=True)

    def _save(self) -> None:
        content = {"settings": self._settings, "processes": [asdict(p) for p in self._started.values()]}
        temporary = self._path.with_suffix(".json.new")
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        os.replace(temporary, self._path)
