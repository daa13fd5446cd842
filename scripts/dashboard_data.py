"""A stack of its own with as many predictions as wanted in Hazelcast, for measuring the dashboard."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer
from hazelcast.client import HazelcastClient

from infra.hazelcast import connect
from infra.kafka import client_config, ensure_topics
from infra.local import stack
from infra.local.guard import guarded
from infra.projection import Projection
from infra.settings import LocalSettings, Settings
from tests.browser import feed

# A million predictions took 2.9 GB of it, and its collector needs room.
HEAP = "6g"


@contextmanager
def stack_with(home: Path, predictions: int) -> Iterator[tuple[Settings, HazelcastClient]]:
    """Kafka and Hazelcast on free ports, with simulated predictions in the map; gone afterwards."""
    local = LocalSettings(
        home=home, kafka_port=0, hazelcast_port=0, prefect_port=0, dashboard_port=0, hazelcast_heap=HEAP
    )
    # The dashboard's process is to count as many.
    os.environ["FRAUDFLOW_PROJECTION__MAX_ENTRIES"] = str(2 * predictions)
    settings = Settings(local=local)
    settings.kafka.bootstrap_servers = settings.hazelcast.members = None
    with guarded(home):
        stack.up(settings, services={stack.KAFKA, stack.HAZELCAST})
        settings = stack.with_addresses(settings)
        ensure_topics(settings.kafka)
        producer = Producer(client_config(settings.kafka) | {"linger.ms": 20, "compression.type": "lz4"})
        for frame in feed.predictions(feed.population(), predictions):
            feed.send(settings, frame, producer)
        client = connect(settings.hazelcast)
        projection = Projection(client, settings)
        projection.ensure()
        began = time.monotonic()
        wait_until(lambda: projection.size() >= predictions, 300, "the projection")
        print(f"{predictions:,} predictions projected in {time.monotonic() - began:.0f} s", file=sys.stderr)
        yield settings, client
        client.shutdown()


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask until it is true.

    Raises:
        RuntimeError: it is not, after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} was not ready in {seconds:.0f} s")
        time.sleep(0.1)
