"""Takes the stack on AWS ECS down, and looks whether anything of it is left."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from infra.aws.kinds import KINDS
from infra.errors import FraudflowError, TerminalError
from tasks.aws import find_stacks, look_for_leftovers, remove, the_stack
from tasks.aws_prefect import EXPIRE, SCALE, WATCH, remove_work_pool, set_schedules, stop_flow_runs


@flow(name="teardown")
def teardown_ecs(stack: str | None = None) -> dict[str, Any]:
    """Stop the runs, delete every resource of the stack, and prove that none is left.

    Goes on where an earlier teardown stopped. Touches only what carries the stack's tag or is in its ledger. What is
    in Kafka stays.

    Args:
        stack: its name; left out, the settings' one.

    Raises:
        TerminalError: something is left; the message names it.
    """
    wanted = the_stack(stack)
    name, where = wanted.name, f"{wanted.region}, account {wanted.account}"
    get_run_logger().info("tearing down stack %s in %s", name, where)
    if name == the_stack().name:
        set_schedules([WATCH, SCALE], active=False)
    cancelled = stop_flow_runs(name)
    removed, failures = [], []
    for kind in reversed(KINDS):
        try:
            removed += remove(kind.name, name)
        except FraudflowError as error:
            # What costs money and does not depend on this one is still deleted; the look tells the rest.
            failures.append(str(error))
            get_run_logger().error("%s", error)
    removed += remove_work_pool(name)
    try:
        left = look_for_leftovers(name)
        looks = (
            "Three looks agree on that: what was written down at its creation, AWS's word on the tag, and every name."
        )
    except FraudflowError as error:
        left, looks = [f"perhaps something, for nobody could look: {error}"], ""
    _report(name, cancelled, removed, left, failures, looks)
    if left:
        causes = "".join(f"\n- {failure}" for failure in failures)
        raise TerminalError(
            f"of stack {name} in {where} there is still: {'; '.join(left)}. Run teardown/ecs again."
            f"{causes and ' Causes:'}{causes}"
        )
    others = find_stacks()
    if not others:
        set_schedules([EXPIRE], active=False)
    if not removed:
        there = f"there: {', '.join(others)}" if others else "nor is there any other"
        get_run_logger().warning("there was nothing of a stack %s in %s; %s", name, where, there)
    return {"removed": removed, "runs_cancelled": len(cancelled)}


def _report(
    name: str, cancelled: list[str], removed: list[str], left: list[str], failures: list[str], looks: str
) -> None:
    listing = "\n".join(f"- {thing}" for thing in removed) or "- nothing was there"
    verdict = "**Left:**\n\n" + "\n".join(f"- {thing}" for thing in left) if left else "Nothing is left."
    wrong = "What went wrong on the way:\n\n" + "\n".join(f"- {failure}" for failure in failures) if failures else ""
    create_markdown_artifact(
        f"""## Stack {name} torn down

{verdict}

{looks}

{len(cancelled)} flow runs cancelled. Removed:

{listing}

{wrong}
""",
        key="teardown-ecs",
    )
