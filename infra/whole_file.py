"""A file that appears whole or not at all: half a one would look just like a short one."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def part_of(path: Path) -> Path:
    """The name that a file has until it is whole."""
    return path.with_name(path.name + ".part")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give another name to write to, and let the file have its own when it is whole.

    What was there before stays until then, and nothing of a failure does.

    Raises:
        OSError: it cannot have its name.
    """
    part = part_of(path)
    try:
        yield part
        part.replace(path)
    except BaseException:
        with suppress(OSError):  # it may be that it could not be made; and what went wrong is to be told, not this
            part.unlink()
        raise
