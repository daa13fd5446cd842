"""Whether a scorer moves: it touches a file, and `python -m scoring.heartbeat FILE` says whether it did lately."""

import sys
import time
from pathlib import Path

# Longer than the longest batch with its commit; a scorer that takes that long has hung.
SILENT_SECONDS = 60.0


def is_fresh(path: Path) -> bool:
    """Whether the file was touched within `SILENT_SECONDS`."""
    return path.exists() and time.time() - path.stat().st_mtime < SILENT_SECONDS


if __name__ == "__main__":
    sys.exit(not is_fresh(Path(sys.argv[1])))
