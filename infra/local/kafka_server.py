"""A Kafka of one node, broker and controller in one process, on 127.0.0.1."""

import shlex
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.errors import TerminalError
from infra.local import jars, java, ports
from infra.local.processes import Started, run, spawn
from infra.settings import LocalSettings

NAME = "kafka"

_FORMAT_TIMEOUT_SECONDS = 60
_LOG_CONFIG = Path(__file__).with_name("log4j2.properties")

# One node holds one copy of everything. Four partitions instead of Kafka's fifty for its own topics: each is
# files to open and a leader to elect before the first transaction can begin.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller}
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# The first consumer of a group starts at once instead of waiting 3 s for others.
group.initial.rebalance.delay.ms=0
# How often transactions that a killed scorer left open are looked for. Until theirs is aborted, readers
# stand still; at Kafka's 10 s the scorer that takes over could wait for twice its transaction timeout.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
"""


def start(local: LocalSettings, home: Path, *, previous: str | None, progress: Callable[[str], None]) -> Started:
    """Start it; it is not ready yet. `previous` is the address it had before it died, if it did."""
    before = int(previous.rpartition(":")[2]) if previous else None
    port = ports.choose(local.kafka_port, setting="FRAUDFLOW_LOCAL__KAFKA_PORT", previous=before)
    class_path = jars.ensure(jars.locked(NAME), local, progress)
    folder = home / "kafka"
    config, data = folder / "server.properties", folder / "data"
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(
        _PROPERTIES.format(
            # The voters are not kept in the storage, so the controller may move at each start.
            host=ports.HOST,
            port=port,
            controller=ports.choose(0, setting=""),
            data=data,
        )
    )
    if not (data / "meta.properties").exists():
        _format(class_path, config, home)
    return spawn(
        NAME,
        java.command(
            "kafka.Kafka",
            jars=class_path,
            options=[
                f"-Xmx{local.kafka_heap}",
                # G1, the default, marks its heap beside the broker, on the cores that it needs: a commit that took 3 ms
                # then takes 60. This one stops it for 5 ms a second.
                "-XX:+UseParallelGC",
                f"-Xms{local.kafka_heap}",
                "-Djava.awt.headless=true",
                f"-Dlog4j2.configurationFile={_LOG_CONFIG}",
                *shlex.split(local.java_options),
            ],
            arguments=[str(config)],
        ),
        home=home,
        address=f"{ports.HOST}:{port}",
        env=java.environment(),
    )


def answers(address: str) -> bool:
    """Whether the broker at that address serves its metadata."""
    if not ports.accepts(address):
        return False
    # Until the broker is ready, librdkafka would print each failed attempt.
    client = AdminClient({"bootstrap.servers": address, "log_level": 0, "socket.timeout.ms": 5000})
    try:
        return bool(client.list_topics(timeout=5).brokers)
    except KafkaException:
        return False


def _format(class_path: list[Path], config: Path, home: Path) -> None:
    """Give the storage its cluster id, which Kafka will not start without."""
    cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # An id that begins with a dash would be read as an option.
    command = java.command(
        "kafka.tools.StorageTool",
        jars=class_path,
        options=["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={_LOG_CONFIG}"],
        arguments=["format", f"--cluster-id={cluster_id}", "--config", str(config)],
    )
    try:
        done = run(command, home=home, env=java.environment(), seconds=_FORMAT_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise TerminalError(f"Kafka's storage tool did not end within {_FORMAT_TIMEOUT_SECONDS} s") from error
    if done.returncode:
        raise TerminalError(
            f"Kafka's storage tool cannot format {config.parent / 'data'}: "
            f"{(done.stdout + done.stderr).strip()[-2000:]}"
        )
