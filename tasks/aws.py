"""The steps on AWS: one row in the UI for each resource that is made and each kind that is removed."""

import time
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from infra.aws import audit, ecs, load_balancer, plan, prune, services
from infra.aws.client import explaining
from infra.aws.containers import SERVICES
from infra.aws.kinds import kind as kind_of
from infra.aws.stack import Stack
from infra.group_reader import GroupReader
from infra.kafka import partitions
from infra.settings import get_settings
from tasks.retry import transient_only

# After boto3's own tries: a role is there for every service within a minute, throttling passes sooner.
RETRY_DELAYS: list[float] = [2, 5, 15, 30]


def the_stack(name: str | None = None) -> Stack:
    """The stack of the settings, or another of the same account and region."""
    stack = Stack.of(get_settings())
    return stack.named(name) if name else stack


@task(
    task_run_name="{kind} {name}",
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=RETRY_DELAYS,
    retry_condition_fn=transient_only,
    cache_policy=NO_CACHE,
)
def provide(kind: str, name: str, ids: dict[str, str], expires: str) -> dict[str, str]:
    """Have one resource as the plan specifies it.

    Args:
        kind: its kind.
        name: its name within the stack.
        ids: of the resources before it, by "kind/name".
        expires: when the stack does, for its tag.

    Returns:
        Its `id`, and what was done for it (`did`): created, changed or kept.
    """
    stack = Stack(get_settings(), datetime.fromisoformat(expires))
    step = next(step for step in plan.steps(stack) if (step.kind, step.name) == (kind, name))
    with explaining(f"specify {kind} {name}"):
        spec = step.spec(ids)
    outcome = kind_of(kind).ensure(stack, name, spec)
    if outcome.did != "kept":
        get_run_logger().info("%s %s: %s (%s)", kind, name, outcome.did, outcome.id)
    return {"id": outcome.id, "did": outcome.did}


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def wait_for_services(names: list[str] | None = None, rolled_out: bool = False) -> dict[str, int]:
    """Wait until the services have all their tasks. Returns the tasks of each.

    Args:
        names: of the services; left out, all.
        rolled_out: their tasks are to be of their newest task definitions, too.

    Raises:
        TerminalError: one does not become healthy, or not so; with the reasons that its stopped tasks gave.
    """
    stack, wanted = the_stack(), names or SERVICES
    found = services.wait_healthy(stack, wanted, get_run_logger().info)
    if rolled_out:
        services.refuse_older(stack, wanted)
    return {service.name: service.running for service in found}


@task(
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=RETRY_DELAYS,
    retry_condition_fn=transient_only,
    cache_policy=NO_CACHE,
)
def remove_what_is_not_asked_for() -> list[str]:
    """Remove what the settings asked for once and no longer do. Returns what was removed now."""
    removed = []
    for resource in prune.prune(the_stack()):
        get_run_logger().info("removed %s: the settings no longer ask for it", resource)
        removed.append(str(resource))
    return removed


@task(retries=3, retry_delay_seconds=2, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def read_lag() -> tuple[int, int]:
    """Transactions that are not scored yet, and the partitions of their topic."""
    settings = get_settings()
    topic = settings.kafka.topics.transactions
    group = GroupReader(settings.kafka, settings.scoring.group_id, topic)
    try:
        return group.lag(), partitions(settings.kafka).get(topic, 1)
    finally:
        group.close()


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def set_scorers(count: int) -> int:
    """Tell ECS how many scorers to keep. Returns how many they were to be before."""
    return services.scale(the_stack(), count)


@task(
    task_run_name="remove every {kind}",
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=RETRY_DELAYS,
    retry_condition_fn=transient_only,
    cache_policy=NO_CACHE,
)
def remove(kind: str, stack_name: str) -> list[str]:
    """Delete every resource of a kind that is the stack's, and wait until it is gone. Returns what was deleted."""
    stack, removed = the_stack(stack_name), []
    with explaining(f"look for every {kind}"):
        found = kind_of(kind).find(stack)
    for resource in found:
        if not resource.ours:
            get_run_logger().warning("%s has the stack's name but not its tag: not touched", resource)
            continue
        kind_of(kind).remove(stack, resource)
        get_run_logger().info("removed %s", resource)
        removed.append(str(resource))
    return removed


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def look_for_leftovers(stack_name: str) -> list[str]:
    """Ask AWS for everything of the stack, in three ways, until nothing is left or the time is over.

    Returns:
        What is left, each with those of the looks that saw it.

    Raises:
        TransientError: AWS does not answer: nobody knows what is left.
    """
    stack = the_stack(stack_name)
    # What was deleted a moment ago may still be listed.
    deadline = time.monotonic() + min(120, stack.settings.aws.gone_timeout_seconds)
    while found := audit.look(stack):
        if time.monotonic() > deadline:
            return [f"{finding} (seen by {', '.join(finding.seen_by)})" for finding in found]
        time.sleep(stack.settings.aws.poll_seconds)
    stack.ledger.close()
    return []


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def find_stacks() -> dict[str, str]:
    """Every stack of this account and region, with the time at which it expires."""
    return audit.expiries(the_stack())


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def renew(expires: str) -> None:
    """Put the stack's end off to that time."""
    with explaining("put the stack's end off"):
        ecs.renew(Stack(get_settings(), datetime.fromisoformat(expires)))


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def find_deaths() -> list[str]:
    """Which tasks of the services died within the last hour, with what they said."""
    return services.deaths(the_stack(), SERVICES)


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def find_dashboard(ids: dict[str, str]) -> str:
    """Where people reach the dashboard, and what is to be done for that, as a line of Markdown."""
    aws, balancer = get_settings().aws, ids.get("load balancer/dashboard")
    if balancer is None:
        return "Nobody can open the dashboard: `FRAUDFLOW_AWS__DASHBOARD_CIDRS` says who may."
    with explaining("look for the load balancer"):
        address = load_balancer.address(the_stack(), balancer)
    name = urlsplit(str(aws.dashboard_url)).hostname
    return f"Dashboard: {aws.dashboard_url} for {', '.join(aws.dashboard_cidrs)}. DNS: `{name}` CNAME `{address}`."


def summary_of(outcomes: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """What was created, changed and kept, by name."""
    return {
        did: [name for name, outcome in outcomes.items() if outcome["did"] == did]
        for did in ("created", "changed", "kept")
    }
