"""What was created, written down before it is: so that a crash between the call and its answer loses nothing.

One JSON line an event, flushed to the disk. It is one of three looks at what is left and never the only one: where
the file is gone, tags and names still find everything.
"""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One resource that was created; `id` is what its API calls it by."""

    kind: str
    name: str
    id: str


class Ledger:
    """The ledger of one stack."""

    def __init__(self, path: Path):
        self._path = path

    def creating(self, kind: str, name: str) -> None:
        """Say what is about to be created."""
        self._write("creating", kind, name, None)

    def created(self, kind: str, name: str, ref: str) -> None:
        """Say what it is called."""
        self._write("created", kind, name, ref)

    def deleted(self, kind: str, name: str, ref: str) -> None:
        """Say that it was seen to be gone."""
        self._write("deleted", kind, name, ref)

    def entries(self) -> list[Entry]:
        """Everything that was ever created, deleted or not: whoever looks asks AWS and not this file."""
        if not self._path.exists():
            return []
        # The last line may be half a line: the process that wrote it was killed.
        lines = [json.loads(line) for line in self._path.read_text().splitlines() if line.endswith("}")]
        return [Entry(line["kind"], line["name"], line["id"]) for line in lines if line["event"] == "created"]

    def has(self, kind: str, ref: str) -> bool:
        """Whether this stack created it."""
        return any(entry.kind == kind and entry.id == ref for entry in self.entries())

    def close(self) -> None:
        """Throw the ledger away; nothing of what it lists is left."""
        self._path.unlink(missing_ok=True)

    def _write(self, event: str, kind: str, name: str, ref: str | None) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "event": event,
            "kind": kind,
            "name": name,
            "id": ref,
        }
        with self._path.open("a") as file:
            # A line of its own, even after half a one.
            file.write(f"\n{json.dumps(line)}\n")
            file.flush()
            os.fsync(file.fileno())
