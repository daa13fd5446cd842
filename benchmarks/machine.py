"""What a figure was measured on: processor, memory, versions, date, and the command."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from infra.local import jars

_PACKAGES = ("confluent-kafka", "onnxruntime", "msgspec", "orjson", "numpy")


def stamp() -> dict[str, Any]:
    """The facts as of now."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _revision(),
        "command": " ".join(["fraudflow", *map(shlex.quote, sys.argv[1:])]),
        "machine": f"{os.cpu_count()} cores of {_processor()}, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in _PACKAGES} | _servers(),
    }


def _revision() -> str | None:
    """The commit, with a + where files differ from it; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _servers() -> dict[str, str]:
    """Versions of the jars that the local stack runs."""
    artifacts = {"kafka": "kafka_2.13", "hazelcast": "hazelcast-sql"}
    return {
        server: next(jar.version for jar in jars.locked(server) if jar.artifact == artifact)
        for server, artifact in artifacts.items()
    }
