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

    The runtime has no compiler, so Eclipse's makes the classes, in the bench's home.

    Raises:
        TerminalError: it does not compile.
    """
    libraries = [*jars.ensure(jars.locked("hazelcast"), LocalSettings()), *_fetched("jet")]
    classes = bench.home / "jet"
    sources = sorted(map(str, _SOURCES.glob("*.java")))
    class_path = ":".join(map(str, libraries))
    compile_it = java.command(
        _COMPILER,
        jars=_fetched("compiler"),
        options=[],
        arguments=["-21", "-nowarn", "-d", str(classes), "-cp", class_path, *sources],
    )
    done = subprocess.run(compile_it, check=False, capture_output=True, text=True, timeout=_COMPILE_SECONDS)
    if done.returncode:
        raise TerminalError(f"the Jet peer does not compile: {done.stderr.strip()}")
    return java.command(
        "FraudPipeline",
        jars=[classes, *libraries],
        options=["-Xmx2g", *hazelcast_server.JVM_OPTIONS],
        arguments=arguments,
    )


def _fetched(user: str) -> list[Path]:
    return jars.ensure(jars.locked(user, _LOCK_FILE), LocalSettings())
