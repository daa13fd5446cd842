"""Brings up what the other flows need inside Kafka and Hazelcast; run again, it changes nothing."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from infra.settings import get_settings
from tasks.provision import compare_topics, provide_projection, provide_topics


@flow(name="provision")
def provision() -> dict[str, Any]:
    """Create the topics and the projection's jobs on the Kafka and the Hazelcast of the settings.

    The servers themselves are the local stack's (`fraudflow up`) or the user's own.
    """
    topics = provide_topics()
    differences = compare_topics()
    jobs = provide_projection()
    settings = get_settings()
    rows = "\n".join(f"| {name} | {count} |" for name, count in topics.items())
    told = "\n".join(f"- {difference}" for difference in differences)
    create_markdown_artifact(
        f"""## Provisioned

Kafka `{settings.kafka.bootstrap_servers}`, Hazelcast `{", ".join(settings.hazelcast.members or [])}`

| topic | partitions |
|---|---|
{rows}

{told}

Projection jobs created now: {", ".join(jobs) or "none, all were there"}
""",
        key="provision",
    )
    return {"topics": topics, "topics_differ": [str(one) for one in differences], "jobs_created": jobs}
