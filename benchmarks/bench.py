"""What all measures share: servers of their own, the same customers, and topics filled beforehand."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from confluent_kafka import Producer

from infra.feature_store import FeatureStore
from infra.hazelcast import connect
from infra.kafka import client_config, delete_topics, ensure_topics, topic_names
from infra.local import stack
from infra.local.guard import guarded
from infra.local.processes import MARKER
from infra.local.registry import Registry
from infra.settings import LocalSettings, Settings
from infra.transaction_sources import Records, encode
from scoring.feature_files import read_feature_files
from scoring.model import PROJECT_MODEL
from simulator.population import Population, simulate_population, write_population
from simulator.transactions import DAYS, Simulation

CUSTOMERS, MERCHANTS, SEED = 10_000, 800, 1
# The 15 static inputs, whatever the project's own model has come to: numbers of different days can be compared, and
# the peers have no past.
STATIC_MODEL = PROJECT_MODEL.with_name("static.onnx")
# Rows handed to librdkafka at once.
_HAND_OVER_ROWS = 10_000
_QUEUE_ROWS = 500_000
_FLUSH_SECONDS = 60
# The longest that Kafka allows: a topic may be filled within one transaction and released much later.
_RELEASE_TIMEOUT_MS = 900_000

Progress = Callable[[str], None]


@dataclass
class Bench:
    """A running stack and what is measured on it."""

    home: Path
    settings: Settings
    quick: bool
    progress: Progress
    transactions: int
    _filled: Settings | None = None

    @property
    def data(self) -> Path:
        """The folder of the feature files."""
        return self.home / "data"

    @cached_property
    def population(self) -> Population:
        """The same people and shops each time."""
        return simulate_population(CUSTOMERS, MERCHANTS, SEED)

    def records(self, count: int, days: int = DAYS) -> Iterator[Records]:
        """Transactions of that population as keys and values."""
        for frame in Simulation(self.population, count, SEED, days=days).frames():
            yield encode(frame)

    @property
    def filled(self) -> Settings:
        """Settings whose transactions topic holds `transactions` rows; filled once, read by every single process."""
        if self._filled is None:
            settings = self.fresh()
            self.fill(settings, self.transactions)
            self._filled = settings
        return self._filled

    def fresh(self, of: Settings | None = None, partitions: int | None = None) -> Settings:
        """Settings with a group and topics of their own; with `of`, its transactions topic is read again."""
        own = uuid.uuid4().hex[:8]
        settings = (of or self.settings).model_copy(deep=True)
        topics = settings.kafka.topics
        for name in type(topics).model_fields:
            if of is None or name != "transactions":
                setattr(topics, name, f"{name}-{own}")
        settings.kafka.partitions = partitions or settings.kafka.partitions
        settings.scoring.group_id = f"bench-{own}"
        ensure_topics(settings.kafka)
        return settings

    def drop(self, settings: Settings) -> None:
        """Delete the topics of these settings, but not the shared transactions."""
        kept = self._filled.kafka.topics.transactions if self._filled else None
        delete_topics(settings.kafka, [name for name in topic_names(settings.kafka) if name != kept])

    def fill(self, settings: Settings, count: int, days: int = DAYS) -> None:
        """Put `count` transactions of so many days into the topic, as any producer would."""
        producer = Producer(_producer_config(settings))
        self._produce(producer, settings, count, days)
        producer.flush(_FLUSH_SECONDS)

    @contextmanager
    def held_back(self, settings: Settings, count: int) -> Iterator[Callable[[], None]]:
        """Put transactions into the topic that nobody can read until the yielded function is called.

        They stand in one open transaction. So several processes can share the partitions out among themselves first,
        and then all begin at the same moment.
        """
        config = {"transactional.id": settings.scoring.group_id, "transaction.timeout.ms": _RELEASE_TIMEOUT_MS}
        producer = Producer(_producer_config(settings) | config)
        producer.init_transactions()
        producer.begin_transaction()
        self._produce(producer, settings, count)
        producer.flush(_FLUSH_SECONDS)
        yield producer.commit_transaction

    def _produce(self, producer: Producer, settings: Settings, count: int, days: int = DAYS) -> None:
        topic = settings.kafka.topics.transactions
        for records in self.records(count, days):
            for start in range(0, len(records.values), _HAND_OVER_ROWS):
                part = records.part(start, start + _HAND_OVER_ROWS)
                while len(producer) > _QUEUE_ROWS - _HAND_OVER_ROWS:
                    producer.poll(0.05)
                producer.produce_batch(
                    topic, [{"key": k, "value": v} for k, v in zip(part.keys, part.values, strict=True)]
                )

    def environment(self, settings: Settings) -> dict[str, str]:
        """This process's environment, with these settings' addresses, topics and group for a child.

        What else the caller has set of FRAUDFLOW_SCORING__... stays: that is how a mode of the scorer is measured.
        """
        members = settings.hazelcast.members or []
        return (
            {"FRAUDFLOW_SCORING__MODEL": str(STATIC_MODEL)}
            | os.environ
            | {
                MARKER: str(self.home),
                "FRAUDFLOW_LOCAL__HOME": str(self.home),
                "FRAUDFLOW_KAFKA__BOOTSTRAP_SERVERS": str(settings.kafka.bootstrap_servers),
                "FRAUDFLOW_KAFKA__PARTITIONS": str(settings.kafka.partitions),
                "FRAUDFLOW_HAZELCAST__MEMBERS": '["' + '","'.join(members) + '"]',
                "FRAUDFLOW_SCORING__GROUP_ID": settings.scoring.group_id,
                "FRAUDFLOW_SCORING__DELIVERY": settings.scoring.delivery,
            }
            | {
                f"FRAUDFLOW_KAFKA__TOPICS__{name.upper()}": value
                for name, value in settings.kafka.topics.model_dump().items()
            }
        )

    def server_pids(self) -> dict[str, int]:
        """The process of each server."""
        return {started.name: started.pid for started in Registry(self.home).all()}


def _producer_config(settings: Settings) -> dict[str, object]:
    return client_config(settings.kafka) | {
        "compression.type": "lz4",
        "partitioner": "murmur2_random",
        "linger.ms": 20,
        "batch.size": 1 << 20,
        "queue.buffering.max.messages": _QUEUE_ROWS,
        "queue.buffering.max.kbytes": 1 << 20,
        "delivery.report.only.error": True,
    }


@contextmanager
def running(home: Path, quick: bool, transactions: int, progress: Progress) -> Iterator[Bench]:
    """Kafka and Hazelcast of the benchmark's own on free ports, with features loaded; gone afterwards."""
    settings = Settings(local=LocalSettings(home=home, kafka_port=0, hazelcast_port=0))
    # Not those that the environment names: what is measured is one machine.
    settings.kafka.bootstrap_servers = settings.hazelcast.members = None
    with guarded(home):
        stack.up(settings, services={stack.KAFKA, stack.HAZELCAST}, progress=progress)
        bench = Bench(home, stack.with_addresses(settings), quick, progress, transactions)
        write_population(bench.population, bench.data)
        client = connect(bench.settings.hazelcast)
        FeatureStore(client).load(read_feature_files(bench.data))
        client.shutdown()
        yield bench
