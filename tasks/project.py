"""Waiting until Hazelcast shows what Kafka holds."""

import time

import msgspec
from confluent_kafka import Message
from hazelcast.client import HazelcastClient
from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.errors import TransientError
from infra.hazelcast import PREDICTIONS, connect
from infra.kafka import last_records
from infra.projection import Projection
from infra.settings import Settings, get_settings
from infra.topic_reader import TopicReader
from tasks.retry import transient_only

POLL_SECONDS = 0.2


class _Position(msgspec.Struct):
    source_partition: int
    source_offset: int


@task(retries=3, retry_delay_seconds=2, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def wait_for_projection(timeout_seconds: float = 120) -> int:
    """Wait until the newest prediction of each partition is in the map; the jobs read partitions in order.

    One that the map may have dropped again, for its age or for what came after it, is not waited for.

    Returns:
        The number of predictions in the map.

    Raises:
        TransientError: they did not arrive in time.
    """
    settings = get_settings()
    client = connect(settings.hazelcast)
    try:
        projection = Projection(client, settings)
        projection.ensure()
        results = client.get_map(PREDICTIONS).blocking()
        deadline = time.monotonic() + timeout_seconds
        for record in last_records(settings.kafka, settings.kafka.topics.predictions):
            key, wanted = (record.key() or b"").decode(), _position(record.value() or b"{}")
            if not _has(results.get(key), wanted) and _may_be_dropped(record, settings, client):
                continue
            while not _has(results.get(key), wanted):
                if time.monotonic() > deadline:
                    # If it was dropped meanwhile, the next try sees that at once.
                    raise TransientError(
                        f"prediction {key} did not reach {PREDICTIONS} in {timeout_seconds:.0f} s: "
                        "look at the projection's jobs with SHOW JOBS"
                    )
                time.sleep(POLL_SECONDS)
        return projection.size()
    finally:
        client.shutdown()


def _may_be_dropped(record: Message, settings: Settings, client: HazelcastClient) -> bool:
    at_ms, projection = record.timestamp()[1], settings.projection
    if projection.ttl_seconds and time.time() > at_ms / 1000 + projection.ttl_seconds:
        return True
    reader = TopicReader(settings.kafka, settings.kafka.topics.predictions)
    try:
        later = reader.offsets_at(at_ms)
        kept = projection.max_entries * len(client.cluster_service.get_members())
        return sum(end - later[p] for p, end in reader.ends().items()) > kept
    finally:
        reader.close()


def _position(value: bytes | str) -> _Position:
    return msgspec.json.decode(value, type=_Position)


def _has(found: object, wanted: _Position) -> bool:
    """Whether the map has this prediction, or a newer one of a transaction that came twice."""
    if found is None:
        return False
    position = _position(found.to_string())  # type: ignore[attr-defined] - a HazelcastJsonValue
    return position.source_partition != wanted.source_partition or position.source_offset >= wanted.source_offset
