"""What the settings asked for once and no longer do: a closed dashboard's load balancer costs as an open one's does."""

from collections.abc import Iterator

from infra.aws import plan
from infra.aws.client import explaining
from infra.aws.ecs import Task
from infra.aws.kinds import KINDS
from infra.aws.network import NetworkInterface, SecurityGroup
from infra.aws.resource import Kind, Resource
from infra.aws.stack import Stack


def prune(stack: Stack) -> Iterator[Resource]:
    """Remove what is the stack's and not in its plan, each as it is removed.

    Raises:
        TransientError: something is still in use.
    """
    wanted = {step.key for step in plan.steps(stack)}
    for kind in reversed(KINDS):
        for resource in _unwanted(stack, kind, wanted):
            kind.remove(stack, resource)
            yield resource


def _unwanted(stack: Stack, kind: Kind, wanted: set[str]) -> list[Resource]:
    """Tasks are their services', and what a load balancer leaves in its group holds the group for minutes."""
    if isinstance(kind, Task):
        return []
    if isinstance(kind, NetworkInterface):
        groups = [group.id for group in _unwanted(stack, SecurityGroup(), wanted)]
        return kind.of(stack, groups)
    with explaining(f"look for every {kind.name}"):
        found = kind.find(stack)
    return [one for one in found if one.ours and f"{one.kind}/{one.name}" not in wanted]
