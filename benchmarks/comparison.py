"""The peers of benchmarks/peers on the same topic, features and model, each as its documentation teaches."""

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from confluent_kafka import Consumer, KafkaError, TopicPartition

from benchmarks import java_peers, latency, throughput
from benchmarks.bench import STATIC_MODEL, Bench
from benchmarks.follow import Topic, follow
from benchmarks.processes import Measured, peer_python, started
from infra.errors import TerminalError, TransientError
from infra.kafka import client_config, partitions
from infra.settings import Settings

FOLDER = Path(__file__).parent / "peers"
_TOLERANCE = 1e-5
# The first is there to wait for the peer's start.
_LATENCY_RATES = (200, 1_000)
_LATENCY_SECONDS = 6.0
# Of each peer: ours needs more for a rate, because its batches are large.
_TRANSACTIONS, _QUICK_TRANSACTIONS = 300_000, 40_000
_READ_SECONDS = 60.0
_INSTALL_SECONDS = 300


@dataclass(frozen=True)
class Peer:
    """One way of doing the same work. `arguments` are those of its environment's Python, or of the Java program."""

    name: str
    arguments: Sequence[str]
    exactly_once: bool
    java: Literal["", "flink", "jet"] = ""
    """Whose program starts a Java runtime: it needs jars, and starts too slowly for the quick run."""


PEERS = (
    Peer("confluent-kafka, row by row", ("confluent_loop.py",), False),
    Peer("confluent-kafka, row by row, exactly-once", ("confluent_loop.py", "--exactly-once"), True),
    Peer("Quix Streams", ("quix.py",), False),
    Peer("Quix Streams, exactly-once", ("quix.py", "--exactly-once"), True),
    Peer("Bytewax, by row", ("-m", "bytewax.run", "bytewax_flow:by_row()"), False),
    Peer("Bytewax, batch operator", ("-m", "bytewax.run", "bytewax_flow:by_batch()"), False),
    Peer("PyFlink", ("flink_job.py",), False, java="flink"),
    Peer("PyFlink, exactly-once", ("flink_job.py", "--exactly-once"), True, java="flink"),
    Peer("Hazelcast Jet in Java", (), False, java="jet"),
    Peer("Hazelcast Jet in Java, exactly-once", ("--exactly-once",), True, java="jet"),
    Peer("Hazelcast Jet in Java, features in its maps", ("--maps",), False, java="jet"),
)


class _Answer(msgspec.Struct):
    transaction_number: str
    fraud_probability: float


def measure(bench: Bench) -> dict[str, Any]:
    """Ours first, whose answers the others' are held against; then each peer."""
    python = environment(bench)
    bench.progress("peers: ours, exactly-once")
    _, ours, settings = throughput.one_process(bench)
    answers = _answers(settings, bench.transactions)
    if len(answers) != bench.transactions:
        raise TerminalError(f"{len(answers):,} transactions have a prediction of ours, of {bench.transactions:,}")
    bench.drop(settings)
    count = _QUICK_TRANSACTIONS if bench.quick else _TRANSACTIONS
    rows = [{"name": "fraudflow, exactly-once", "exactly_once": True} | ours]
    for peer in PEERS:
        if bench.quick and peer.java:
            continue
        bench.progress(f"peers: {peer.name}")
        figures = _throughput(bench, peer, python, answers, count)
        # What waits for an answer looks for its key, and PyFlink's sink can write none but the whole row.
        if not bench.quick and peer.java != "flink":
            figures["latency_ms"] = _latency(bench, peer, python)
        rows.append(
            {"name": peer.name, "exactly_once": peer.exactly_once}
            | figures
            | {
                "ours_times_per_second": ours["per_second"] / figures["per_second"],
                "ours_times_per_cpu_second": figures["cpu_us"] / ours["cpu_us"],
            }
        )
    return {
        "transactions": bench.transactions,
        "transactions_of_peers": count,
        "rows": rows,
        "versions": _versions(python),
    }


def environment(bench: Bench) -> Path:
    """The Python of the peers' environment, which uv makes from its lock file if it is not there.

    Raises:
        TerminalError: it cannot be made; uv's own words say why.
    """
    python = peer_python(FOLDER)
    if not python.exists():
        local = Path(__file__).parents[1] / ".tools" / "bin" / "uv"
        uv = str(local) if local.exists() else shutil.which("uv")
        if not uv:
            raise TerminalError("the peers need uv, to make their environment: `make .tools/bin/uv`")
        bench.progress("peers: making their environment")
        command = [uv, "sync", "--frozen", "--quiet", "--project", str(FOLDER)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
        if done.returncode:
            raise TerminalError(f"uv cannot make the peers' environment: {done.stderr.strip()}")
    return python


@contextmanager
def running(bench: Bench, peer: Peer, python: Path, settings: Settings, **extra: str) -> Iterator[Measured]:
    """Start a peer between the topics of these settings."""
    variables = {
        "PEER_BROKERS": str(settings.kafka.bootstrap_servers),
        "PEER_INPUT": settings.kafka.topics.transactions,
        "PEER_OUTPUT": settings.kafka.topics.predictions,
        "PEER_GROUP": settings.scoring.group_id,
        "PEER_DATA": str(bench.data),
        "PEER_MODEL": str(STATIC_MODEL),
        "PEER_STATE": str(bench.home / settings.scoring.group_id),
        "PYTHONPATH": str(FOLDER),
    }
    if peer.java == "flink":
        variables |= java_peers.flink_environment()
    if peer.java == "jet":
        command = java_peers.jet_command(bench, peer.arguments)
    else:
        command = [str(python), *(str(FOLDER / a) if a.endswith(".py") else a for a in peer.arguments)]
    with started(bench, [command], bench.environment(settings) | variables | extra, "peer") as measured:
        yield measured


def _throughput(bench: Bench, peer: Peer, python: Path, answers: dict[str, float], count: int) -> dict[str, Any]:
    settings = bench.fresh(bench.filled)
    # What was written, not what was committed: an end that waits for a commit interval would count as slowness.
    topic = Topic(settings.kafka, settings.kafka.topics.predictions, committed=False)
    with running(bench, peer, python, settings) as measured:
        followed = follow(topic, measured, bench.transactions, servers=bench.server_pids(), stop_at=count)
    # Of an exactly-once peer, what it had not committed at its end is not there.
    theirs = _answers(settings, 0 if peer.exactly_once else count)
    wrong = sum(abs(answers[number] - probability) > _TOLERANCE for number, probability in theirs.items())
    if wrong or not theirs:
        raise TerminalError(f"{peer.name}: {wrong:,} wrong answers, {len(theirs):,} in all")
    bench.drop(settings)
    return throughput.figures_of(followed) | {"answers_checked": len(theirs)}


def _latency(bench: Bench, peer: Peer, python: Path) -> dict[str, Any]:
    settings = bench.fresh()
    # Quix shows what it has done in a transaction at its end, every 5 s by default; that would be all one sees.
    with running(bench, peer, python, settings, PEER_COMMIT_SECONDS="0.1") as measured:
        return latency.at_rates(bench, settings, measured, _LATENCY_RATES, _LATENCY_SECONDS)[str(_LATENCY_RATES[-1])]


def _answers(settings: Settings, at_least: int) -> dict[str, float]:
    """The probability of each transaction, from every committed message of the predictions topic.

    Waits for `at_least` so many: Kafka answers a commit before readers of every partition can see it. A process that
    was ended may have left a transaction open, behind which nobody can read; what is in front of it counts.
    """
    topic = settings.kafka.topics.predictions
    consumer = Consumer(
        client_config(settings.kafka)
        | {
            "group.id": f"{settings.scoring.group_id}-check",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 10,
        }
    )
    left = set(range(partitions(settings.kafka)[topic]))
    consumer.assign([TopicPartition(topic, p, 0) for p in left])
    decode = msgspec.json.Decoder(_Answer).decode
    found: dict[str, float] = {}
    deadline = time.monotonic() + _READ_SECONDS
    try:
        while left or len(found) < at_least:
            messages = consumer.consume(10_000, 0.1)
            if time.monotonic() > deadline:
                raise TransientError(f"{topic}: {len(found):,} answers can be read, of at least {at_least:,}")
            for message in messages:
                error = message.error()
                if error is None:
                    answer = decode(message.value() or b"")
                    found[answer.transaction_number] = answer.fraud_probability
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition() or 0)
                else:
                    raise TransientError(f"{topic}: {error}")
    finally:
        consumer.close()
    return found


def _versions(python: Path) -> dict[str, str]:
    names = ("quixstreams", "bytewax", "apache-flink", "confluent-kafka", "onnxruntime", "orjson")
    code = f"import importlib.metadata as m; print(*(m.version(n) for n in {names!r}))"
    printed = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout
    return dict(zip(names, printed.split(), strict=True))
