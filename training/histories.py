"""The folders of histories, which runs share: none is forgotten while a run trains on it or writes it.

Who uses a folder has a lock on it. The kernel gives the lock back when its process ends, however that ends.
"""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path


def hold(directory: Path) -> int:
    """Keep a folder until the descriptor that this returns is closed, or this process ends.

    Raises:
        FileNotFoundError: there is none.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def forget_old(histories: Path, kept: int) -> None:
    """Remove all folders but the newest ones and those that somebody holds. An unfinished one is a folder like any."""
    found = []
    for directory in filter(Path.is_dir, histories.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # another run removed it just now, or finished it
            found.append((directory.stat().st_mtime, directory))
    for _, old in sorted(found, reverse=True)[kept:]:
        with contextlib.suppress(FileNotFoundError):  # as above
            _forget(old)


def _forget(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # somebody holds it
        return
    else:
        shutil.rmtree(directory)
    finally:
        os.close(descriptor)
