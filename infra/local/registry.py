"""`stack.json`: what runs in this stack and where it answers, always whole on disk."""

import json
import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.local import processes
from infra.local.processes import Started
from infra.settings import STACK_FILE, Settings, read_stack_file

KAFKA, HAZELCAST, PREFECT, WORKER = "kafka", "hazelcast", "prefect", "worker"


def home_of(settings: Settings) -> Path:
    """Where the stack keeps its state: absolute, whatever folder we are in."""
    return settings.local.home.expanduser().resolve()


def api_url(address: str) -> str:
    """Of the Prefect server at that host:port."""
    return f"http://{address}/api"


class Registry:
    """The record of one stack. A change is on disk before the call returns: a killed `up` leaves it right."""

    def __init__(self, home: Path):
        self._home = home
        self._path = home / STACK_FILE
        self._lock = threading.Lock()
        content = read_stack_file(home)
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

    def named(self, settings: Settings) -> set[str]:
        """The servers that the settings name themselves. What they have from `stack.json` is our own."""
        ours = self._settings
        # Settings that were read when there was one member name fewer than there are now.
        members = set(settings.hazelcast.members or [])
        foreign = {
            KAFKA: settings.kafka.bootstrap_servers not in {None, ours.get(KAFKA, {}).get("bootstrap_servers")},
            HAZELCAST: not members <= set(ours.get(HAZELCAST, {}).get("members", [])),
            PREFECT: settings.prefect_api_url not in {None, ours.get("prefect_api_url")},
        }
        return {name for name, is_foreign in foreign.items() if is_foreign}

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
        with temporary.open("w") as file:
            file.write(json.dumps(content, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)
