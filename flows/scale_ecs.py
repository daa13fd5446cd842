"""How many scorers run on ECS: a number, or what the lag needs. ECS keeps them running; no flow run does.

A flow run for each scorer would have to live for weeks. Prefect's worker does not see such a run's task die, a
cancellation does not reach it, and a server that is away ends it. An ECS service replaces dead tasks, rolls out
images and drains with SIGTERM by itself, and the consumer group divides the partitions among whatever runs.
"""

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from infra.aws.services import scorers_for
from tasks.aws import read_lag, set_scorers, the_stack, wait_for_services


@flow(name="scale")
def scale_ecs(scorers: int | None = None, within_seconds: float = 60) -> dict[str, Any]:
    """Set the number of scorers, wait until they run, and say how far behind they are.

    Args:
        scorers: how many; 0 stops scoring. Left out: as many as work off the lag in `within_seconds`, between
            FRAUDFLOW_AWS__SCORERS and FRAUDFLOW_AWS__MAX_SCORERS.
        within_seconds: for scaling by lag.

    Raises:
        TerminalError: they do not become healthy; the message has what their tasks said.
    """
    lag = None
    if scorers is None:
        lag, topic_partitions = read_lag()
        scorers = scorers_for(lag, topic_partitions, the_stack(), within_seconds)
    before = set_scorers(scorers)
    running = wait_for_services(["scorers"])["scorers"]
    behind = "" if lag is None else f", lag {lag:,}"
    get_run_logger().info("scorers: %d before, %d now%s", before, running, behind)
    create_markdown_artifact(f"## Scorers on ECS\n\n{before} before, {running} now{behind}\n", key="scale-ecs")
    return {"before": before, "running": running, "lag": lag}
