"""The steps that make sure the systems are there."""

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from infra.kafka import ensure_topics
from infra.projection import ensure_projection
from infra.settings import get_settings
from infra.topic_differences import TopicDifference, topic_differences
from tasks.retry import transient_only

RETRY_DELAYS = [1.0, 2.0, 5.0]


@task(retries=3, retry_delay_seconds=RETRY_DELAYS, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def provide_topics() -> dict[str, int]:
    """Create the Kafka topics that are missing; their partitions by name."""
    return ensure_topics(get_settings().kafka)


@task(retries=3, retry_delay_seconds=RETRY_DELAYS, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def compare_topics() -> list[TopicDifference]:
    """Where topics that existed are not as the settings say; each difference is told in the log, none is changed."""
    found = topic_differences(get_settings().kafka)
    for difference in found:
        get_run_logger().warning("%s: change it in Kafka, or the setting", difference)
    return found


@task(retries=3, retry_delay_seconds=RETRY_DELAYS, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def provide_projection() -> list[str]:
    """Create the Hazelcast SQL jobs that are missing; their names."""
    return ensure_projection(get_settings())
