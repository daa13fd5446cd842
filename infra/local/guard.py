"""Ends the servers and processes of a run when it is over, however that went: `python -m infra.local.guard HOME`.

The run holds the other end of standard input. A kill -9 of it closes that too.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local import stack
from infra.settings import LocalSettings, Settings


@contextmanager
def guarded(home: Path) -> Iterator[None]:
    """End every process of the stack in `home` afterwards, and whatever else carries its marker."""
    # A session of its own: Ctrl-C and a `timeout` signal the whole group.
    guard = subprocess.Popen(
        [sys.executable, "-m", "infra.local.guard", str(home)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield
    finally:
        guard.communicate(timeout=120)


def main() -> None:
    """Wait for the end of standard input, then stop everything."""
    sys.stdin.read()
    settings = Settings(local=LocalSettings(home=Path(sys.argv[1])))
    settings.kafka.bootstrap_servers = settings.hazelcast.members = settings.prefect_api_url = None
    stack.down(settings)


if __name__ == "__main__":
    main()
