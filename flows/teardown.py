"""Takes the pipeline out again, and looks whether anything is left."""

from collections.abc import Sequence
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from infra.errors import TerminalError
from infra.kafka import topic_names
from infra.settings import get_settings
from tasks.teardown import left_over, remove_deployments, remove_from_hazelcast, remove_topics, stop_runs


@flow(name="teardown")
def teardown(topics: Sequence[str] = (), deployments: bool = False) -> dict[str, Any]:
    """Stop scoring; remove the projection and the features from Hazelcast.

    What is in Kafka is the truth and stays, unless its topics are named. The processes of the local stack are
    stopped by `fraudflow down`; `fraudflow teardown` does both.

    Args:
        topics: topics to delete with everything in them.
        deployments: cancel whatever else runs, too, and delete the deployments, but not those for AWS. No further run
            can start until `fraudflow up`.

    Raises:
        TerminalError: a topic that is not the pipeline's was named, or something is left.
    """
    foreign = sorted(set(topics) - set(topic_names(get_settings().kafka)))
    if foreign:
        raise TerminalError(f"not topics of this pipeline, so not deleted: {', '.join(foreign)}")
    cancelled = stop_runs(everything=deployments)
    removed = remove_from_hazelcast() + remove_topics(topics)
    if deployments:
        removed += remove_deployments()
    found = left_over(topics, deployments)
    listing = "\n".join(f"- {thing}" for thing in removed) or "- nothing was there"
    verdict = f"**Left: {', '.join(found)}**" if found else "Nothing is left."
    create_markdown_artifact(f"## Torn down\n\n{cancelled} runs cancelled\n\n{listing}\n\n{verdict}\n", key="teardown")
    if found:
        raise TerminalError(f"still there after teardown: {', '.join(found)}. Run teardown again")
    return {"runs_cancelled": cancelled, "removed": removed}
