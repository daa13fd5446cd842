"""The steps that make sure the systems are there."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.hazelcast import connect
from infra.kafka import ensure_topics
from infra.projection import Projection
from infra.settings import get_settings
from tasks.retry import transient_only

RETRY_DELAYS = [1.0, 2.0, 5.0]


@task(retries=3, retry_delay_seconds=RETRY_DELAYS, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def provide_topics() -> dict[str, int]:
    """Create the Kafka topics that are missing; their partitions by name."""
    return ensure_topics(get_settings().kafka)


@task(retries=3, retry_delay_seconds=RETRY_DELAYS, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def provide_projection() -> list[str]:
    """Create the Hazelcast SQL jobs that are missing; their names."""
    settings = get_settings()
    client = connect(settings.hazelcast)
    try:
        return Projection(client, settings).ensure()
    finally:
        client.shutdown()
