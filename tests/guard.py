"""Ends a test run's servers when the run is over, however that went: `python -m tests.guard HOME`.

The run holds the other end of standard input. A kill -9 of the run closes it.
"""

import sys
from pathlib import Path

from infra.local import stack
from infra.settings import LocalSettings, Settings


def main() -> None:
    sys.stdin.read()
    stack.down(Settings(local=LocalSettings(home=Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
