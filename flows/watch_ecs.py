"""Sees that a task on ECS died. ECS replaces it by itself, and would do so for ever without a word to anybody."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from tasks.aws import find_deaths, the_stack, wait_for_services


@flow(name="watch")
def watch_ecs() -> dict[str, Any]:
    """Say which tasks of the stack's services died within the last hour, and that all services have all their tasks.

    Raises:
        TerminalError: a service does not become healthy again; the message has what its tasks said.
    """
    stack, logger = the_stack(), get_run_logger()
    deaths = find_deaths()
    for death in deaths:
        logger.warning("%s", death)
    running = wait_for_services()
    rows = "\n".join(f"| {name} | {count} |" for name, count in running.items())
    told = "\n".join(f"- {death}" for death in deaths) or "None of its tasks died within the last hour."
    create_markdown_artifact(
        f"## Stack {stack.name} on ECS\n\n{told}\n\n| service | tasks |\n|---|---|\n{rows}\n", key="watch-ecs"
    )
    return {"running": running, "deaths": deaths}
