"""Brings up the whole stack on AWS ECS; run again, it changes nothing, or goes on where it stopped."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from infra.aws import cost, plan, preconditions
from infra.aws.stack import Stack
from infra.errors import FraudflowError, TerminalError
from infra.topic_differences import TopicDifference
from tasks.aws import (
    find_dashboard,
    find_stacks,
    provide,
    remove_what_is_not_asked_for,
    renew,
    summary_of,
    the_stack,
    wait_for_services,
)
from tasks.aws_prefect import EXPIRE, WATCH, deploy_flows, provide_work_pool, set_schedules
from tasks.provision import compare_topics, provide_topics


@flow(name="provision")
def provision_ecs(topics: bool = True, put_off: bool = False) -> dict[str, Any]:
    """Create what is missing of the stack that the settings name (FRAUDFLOW_AWS__...), and wait until it is healthy.

    What the settings no longer ask for, as the door of a dashboard that is closed again, is removed. Runs where AWS
    credentials are: what it makes cannot be what it runs on.

    Args:
        topics: create Kafka's topics from here. False where only the VPC reaches Kafka: the scorers then do it.
        put_off: count the hours after which the stack is torn down from now on, also for a stack that is there.

    Raises:
        TerminalError: the settings do not do, or a step failed; the message says how to go on and how to go back.
    """
    stack, logger = the_stack(), get_run_logger()
    preconditions.check(stack)
    expires = stack.expires.isoformat(timespec="seconds")
    prices = cost.estimate(stack.settings.aws)
    logger.info(
        "stack %s in account %s, %s: %.3f USD an hour", stack.name, stack.account, stack.region, prices.usd_per_hour
    )
    create_markdown_artifact(f"## Cost of stack {stack.name}\n\n{cost.markdown(stack.settings.aws)}", key="ecs-cost")
    # Before anything costs.
    set_schedules([EXPIRE], active=True)
    outcomes: dict[str, dict[str, Any]] = {}
    steps = plan.steps(stack)
    try:
        if topics:
            provide_topics()
            refuse_loss(compare_topics(), stack)
        for step in steps:
            ids = {key: outcome["id"] for key, outcome in outcomes.items()}
            outcomes[step.key] = provide(step.kind, step.name, ids, expires)
        ids = {key: outcome["id"] for key, outcome in outcomes.items()}
        pool = provide_work_pool(ids)
        next_steps = [find_dashboard(ids), f"Files for the flows and the scorers: s3://{ids['bucket/files']}/..."]
        for line in next_steps:
            logger.info("%s", line)
        tasks = wait_for_services(rolled_out=True)
        removed = remove_what_is_not_asked_for()
        if put_off:
            renew(expires)
        deployments = deploy_flows(pool)
        set_schedules([WATCH], active=True)
        ends = find_stacks()[stack.name]
    except FraudflowError as error:
        raise TerminalError(
            f"provisioning stopped after {len(outcomes)} of {len(steps)} resources: {error}\n"
            "To go on: mend that and run provision/ecs again; what is there stays as it is.\n"
            "To go back: run teardown/ecs; until then what is there costs money."
        ) from error
    done, runs = summary_of(outcomes), f"{len(deployments)} deployments in the VPC by work pool `{pool}`"
    logger.info("stack %s is torn down %s", stack.name, ends)
    _report(done, removed, tasks, runs, next_steps, ends)
    return {
        "created": done["created"],
        "changed": done["changed"],
        "removed": removed,
        "tasks": tasks,
        "work_pool": pool,
        "ids": ids,
    }


def refuse_loss(differences: list[TopicDifference], stack: Stack) -> None:
    """Stop where topics that exist have fewer replicas than the settings ask for.

    Raises:
        TerminalError: with every such topic; unless the settings allow it, for a trial.
    """
    risky = [str(one) for one in differences if one.risks_loss]
    if risky and not stack.settings.aws.allow_insecure:
        raise TerminalError("a broker could take committed records with it: " + "; ".join(risky))


def _report(
    done: dict[str, list[str]],
    removed: list[str],
    tasks: dict[str, int],
    runs: str,
    next_steps: list[str],
    ends: str,
) -> None:
    rows = "\n".join(f"| {name} | {count} |" for name, count in tasks.items())
    told = "\n\n".join(next_steps)
    create_markdown_artifact(
        f"""## Provisioned on ECS

{len(done["created"])} resources created, {len(done["changed"])} changed, {len(done["kept"])} were there. \
{f"Removed, because the settings no longer ask for it: {', '.join(removed)}." if removed else ""}

| service | tasks |
|---|---|
{rows}

{told}

There are {runs}. The stack is torn down {ends}.
""",
        key="provision-ecs",
    )
