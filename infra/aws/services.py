"""The services while they run: whether they are healthy, how many tasks they have, why tasks stopped."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from infra.aws.client import explaining
from infra.aws.containers import SCORERS, family
from infra.aws.ecs import describe_services, newest_definition
from infra.aws.stack import Stack
from infra.errors import TerminalError

_TOLD = 3  # stopped tasks and events that a message quotes


@dataclass(frozen=True)
class Health:
    """How one service is."""

    name: str
    running: int
    desired: int
    rollout: str
    """COMPLETED, IN_PROGRESS or FAILED."""

    @property
    def good(self) -> bool:
        """Whether it has all its tasks, of one task definition."""
        return self.running == self.desired and self.rollout == "COMPLETED"

    def __str__(self) -> str:
        return f"{self.name} {self.running} of {self.desired}"


def health(stack: Stack, names: Sequence[str]) -> list[Health]:
    """How these services are, asked now. One that is not there is left out."""
    with explaining("describe the services"):
        return [_health(service) for service in describe_services(stack, list(names))]


def _health(service: Any) -> Health:
    deployments = service.get("deployments", [])
    primary = next((d for d in deployments if d["status"] == "PRIMARY"), {})
    rollout = primary.get("rolloutState") or ("IN_PROGRESS" if len(deployments) > 1 else "COMPLETED")
    # Going back to the definition before, ECS makes that the primary one.
    if any(deployment.get("rolloutState") == "FAILED" for deployment in deployments):
        rollout = "FAILED"
    return Health(service["serviceName"], service["runningCount"], service["desiredCount"], rollout)


def wait_healthy(stack: Stack, names: Sequence[str], progress: Callable[[str], None] = lambda _: None) -> list[Health]:
    """Wait until each has all its tasks.

    Raises:
        TerminalError: the rollout failed, or it took too long; with what ECS and the stopped tasks say.
    """
    timeout = stack.settings.aws.healthy_timeout_seconds
    deadline = time.monotonic() + timeout
    told = ""
    while True:
        found = health(stack, names)
        missing = sorted(set(names) - {one.name for one in found})
        if missing:
            raise TerminalError(f"there is no service {', '.join(missing)}: provision the stack first")
        if all(one.good for one in found):
            return found
        failed = [one.name for one in found if one.rollout == "FAILED"]
        late = [one.name for one in found if not one.good] if time.monotonic() > deadline else []
        for name in failed or late:
            what = "its rollout failed" if failed else f"it has not all its tasks after {timeout:.0f} s"
            raise TerminalError(f"service {name} is not healthy: {what}.\n{reasons(stack, name)}")
        text = ", ".join(map(str, found))
        if text != told:
            progress(text)
            told = text
        time.sleep(stack.settings.aws.poll_seconds)


def refuse_older(stack: Stack, names: Sequence[str]) -> None:
    """Look whether each runs its newest task definition: to a healthy one before it, ECS goes back by itself.

    Raises:
        TerminalError: one does not; with what ECS and the stopped tasks say.
    """
    with explaining("compare the services with their task definitions"):
        for service in describe_services(stack, list(names)):
            name, present = service["serviceName"], service["taskDefinition"]
            newest = newest_definition(stack, family(stack, name))
            if present != newest:
                raise TerminalError(
                    f"service {name} is healthy, but with {present.rpartition('/')[2]}: the rollout of "
                    f"{newest.rpartition('/')[2]} failed, and ECS went back.\n{reasons(stack, name)}"
                )


# So begins ECS's word for a task that it stopped for a rollout, or because fewer were asked for.
_ON_PURPOSE = "Scaling activity initiated"


def deaths(stack: Stack, names: Sequence[str]) -> list[str]:
    """What the tasks said that these services lost, and not because anybody asked for it; ECS knows for an hour."""
    told = []
    for name in names:
        with explaining(f"ask which tasks of {name} died"):
            tasks = _stopped(stack, name)
        told += [
            f"a task of {name} died{_when(task)}: {_last_words(task)}"
            for task in tasks
            if not task.get("stoppedReason", "").startswith(_ON_PURPOSE)
        ]
    return told


def _stopped(stack: Stack, name: str, most: int | None = None) -> list[Any]:
    """The tasks that a service has lost."""
    ecs = stack.api("ecs")
    arns = ecs.list_tasks(cluster=stack.prefix, serviceName=name, desiredStatus="STOPPED")["taskArns"][:most]
    return ecs.describe_tasks(cluster=stack.prefix, tasks=arns)["tasks"] if arns else []


def _when(task: Any) -> str:
    return f" {task['stoppedAt'].isoformat(timespec='seconds')}" if "stoppedAt" in task else ""


def _last_words(task: Any) -> str:
    containers = task.get("containers", [])
    told = [task.get("stoppedReason", ""), *(container.get("reason", "") for container in containers)]
    codes = [f"exit code {container['exitCode']}" for container in containers if "exitCode" in container]
    return ", ".join(part for part in [*told, *codes] if part)


def reasons(stack: Stack, name: str) -> str:
    """What ECS says of a service and of the tasks that it lost, and where the log is."""
    with explaining(f"ask why tasks of {name} stopped"):
        tasks = _stopped(stack, name, _TOLD)
        (service,) = describe_services(stack, [name])
    lines = [f"event: {event['message']}" for event in service.get("events", [])[:_TOLD]]
    lines += [f"stopped: {_last_words(task)}" for task in tasks]
    return "\n".join([*(f"- {line}" for line in lines), f"- log: CloudWatch group {stack.path}{name}"])


def scale(stack: Stack, count: int) -> int:
    """Set the number of scorers. Returns what it was.

    Raises:
        TerminalError: there is no such service.
    """
    (before,) = health(stack, [SCORERS]) or [None]
    if before is None:
        raise TerminalError("there is no service of scorers: provision the stack first")
    if before.desired != count:
        with explaining(f"scale the scorers to {count}"):
            stack.api("ecs").update_service(cluster=stack.prefix, service=SCORERS, desiredCount=count)
    return before.desired


def scorers_for(lag: int, partitions: int, stack: Stack, within_seconds: float) -> int:
    """How many scorers work off a lag in that time: within the settings' bounds, and one partition each at most."""
    aws = stack.settings.aws
    needed = math.ceil(lag / (aws.transactions_per_second * within_seconds))
    return max(aws.scorers, min(needed, aws.max_scorers, partitions))
