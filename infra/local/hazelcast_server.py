"""Hazelcast members with SQL, Jet and the Kafka connector, on 127.0.0.1."""

import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra import hazelcast as client
from infra.errors import TransientError
from infra.local import jars, java, ports
from infra.local.processes import Started, spawn
from infra.settings import HazelcastSettings, Settings

_FOLDER = Path(__file__).parent

# For a member wherever it runs: here and in its container.
JVM_OPTIONS = [
    # Hazelcast reads the JVM's insides for its metrics and its networking.
    "--add-modules=java.se",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.management/sun.management=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
    # On two cores the common pool has one thread, and Hazelcast then starts a new thread for every
    # asynchronous callback: throughput falls thirtyfold.
    "-Djava.util.concurrent.ForkJoinPool.common.parallelism=4",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
]
_CONFIG = [
    f"-Djava.util.logging.config.file={_FOLDER / 'logging.properties'}",
    f"-Dhazelcast.config={_FOLDER / 'hazelcast.yaml'}",
]


def name(number: int) -> str:
    """What member `number`, counted from 1, is called."""
    return f"hazelcast-{number}"


def number(name: str) -> int:
    """The number in a member's name."""
    return int(name.rpartition("-")[2])


def addresses(wanted: int, count: int, running: Mapping[int, str], last: Mapping[int, str]) -> list[str]:
    """Where each member is to listen: where it runs, at the wanted port, or for 0 where it ran last if it can."""
    result = []
    for n in range(1, count + 1):
        before = int(last[n].rpartition(":")[2]) if n in last else None
        port = wanted + n - 1 if wanted else ports.choose(0, setting="", previous=before)
        result.append(running.get(n) or f"{ports.HOST}:{port}")
    return result


def start(
    settings: Settings, home: Path, number: int, members: Sequence[str], progress: Callable[[str], None]
) -> Started:
    """Start member `number` of those addresses; it is not ready yet."""
    local = settings.local
    address = members[number - 1]
    port = int(address.rpartition(":")[2])
    ports.choose(port, setting="FRAUDFLOW_LOCAL__HAZELCAST_PORT")
    properties = {
        "fraudflow.cluster.name": settings.hazelcast.cluster_name,
        "fraudflow.port": port,
        "fraudflow.members": ",".join(members),
        "fraudflow.interface": ports.HOST,
        "fraudflow.projection.ttl": settings.projection.ttl_seconds,
        "fraudflow.projection.max.entries": settings.projection.max_entries,
    }
    return spawn(
        name(number),
        java.command(
            "com.hazelcast.core.server.HazelcastMemberStarter",
            jars=jars.ensure(jars.locked("hazelcast"), local, progress),
            options=[
                f"-Xmx{local.hazelcast_heap}",
                *JVM_OPTIONS,
                *_CONFIG,
                *(f"-D{key}={value}" for key, value in properties.items()),
                *shlex.split(local.java_options),
            ],
        ),
        home=home,
        address=address,
        env=java.environment(),
        niceness=local.hazelcast_niceness,
    )


def answers(address: str, cluster_name: str, members: int = 1) -> bool:
    """Whether the member at that address serves clients, in a cluster of at least so many members."""
    if not ports.accepts(address):
        return False
    settings = HazelcastSettings(
        members=[address],
        cluster_name=cluster_name,
        connect_timeout_seconds=3,
        invocation_timeout_seconds=5,
        kafka_bootstrap_servers=None,
    )
    with _quiet():
        try:
            connected = client.connect(settings)
        except TransientError:
            return False
        try:
            return len(connected.cluster_service.get_members()) >= members
        finally:
            connected.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """While a member is asked whether it is there, that it is not is no news for the log."""
    logger = logging.getLogger("hazelcast")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
