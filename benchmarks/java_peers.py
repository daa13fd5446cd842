"""What the peers on Java need: a runtime, jars, and for Hazelcast Jet its program, compiled here."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Bench
from infra.errors import TerminalError
from infra.local import hazelcast_server, jars, java
from infra.settings import LocalSettings

_LOCK_FILE = Path(__file__).parent / "peers" / "jars.lock"
_SOURCES = Path(__file__).parent / "peers" / "jet"
_COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"
_COMPILE_SECONDS = 60


def flink_environment() -> dict[str, str]:
    """What PyFlink is told of its runtime and of its Kafka connector."""
    (connector,) = _fetched("flink")
    return {"PEER_FLINK_CONNECTOR": str(connector), "JAVA_HOME": str(java.home())}


def jet_command(bench: Bench, arguments: Sequence[str]) -> list[str]:
    """The command line of the Jet pipeline: Hazelcast's jars as the local stack runs them, and ONNX Runtime's.

    Raises:
        TerminalError: it does not compile.
    """
    libraries = [*jars.ensure(jars.locked("hazelcast"), LocalSettings()), *_fetched("jet")]
    classes = bench.home / "jet"
    if not classes.exists():
        _compile(classes, libraries)
    return java.command(
        "FraudPipeline",
        jars=[classes, *libraries],
        options=["-Xmx2g", *hazelcast_server.JVM_OPTIONS],
        arguments=arguments,
    )


def _compile(classes: Path, libraries: Sequence[Path]) -> None:
    """The runtime has no compiler, so it is Eclipse's."""
    class_path, sources = ":".join(map(str, libraries)), sorted(map(str, _SOURCES.glob("*.java")))
    arguments = ["-21", "-nowarn", "-d", str(classes), "-cp", class_path, *sources]
    command = java.command(_COMPILER, jars=_fetched("compiler"), options=[], arguments=arguments)
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_COMPILE_SECONDS)
    if done.returncode:
        raise TerminalError(f"the Jet peer does not compile: {done.stderr.strip()}")


def _fetched(user: str) -> list[Path]:
    return jars.ensure(jars.locked(user, _LOCK_FILE), LocalSettings())
