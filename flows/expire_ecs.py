"""Tears down the stacks on AWS ECS whose time is over; provisioning switches its schedule on."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger

from flows.teardown_ecs import teardown_ecs
from infra.errors import FraudflowError, TerminalError
from tasks.aws import find_stacks


@flow(name="expire")
def expire_ecs() -> dict[str, Any]:
    """Look at the expiry tag of every stack of this account and region, and tear down what has expired.

    Raises:
        TerminalError: a teardown left something.
    """
    stacks, now = find_stacks(), datetime.now(UTC)
    expired = sorted(name for name, expires in stacks.items() if datetime.fromisoformat(expires) <= now)
    failures = []
    for name in expired:
        get_run_logger().warning("stack %s expired %s: tearing it down", name, stacks[name])
        try:
            teardown_ecs(name)
        except FraudflowError as error:
            failures.append(str(error))
    if failures:
        raise TerminalError("\n".join(failures))
    return {"expired": expired, "alive": sorted(set(stacks) - set(expired))}
