"""Whether anything is left: three looks, none of which trusts the others.

The ledger knows what was created but may be lost. AWS's tags know no roles and still list what is deleted. Names find
what has no tag. Whatever any of them finds is asked for by its id before it counts.
"""

from dataclasses import dataclass

from infra.aws.client import explaining
from infra.aws.kinds import KINDS, kind
from infra.aws.resource import Resource
from infra.aws.stack import EXPIRES_TAG, NAME_TAG, STACK_TAG, Stack


@dataclass(frozen=True)
class Finding:
    """Something that is still there, and which of the looks saw it."""

    resource: Resource
    seen_by: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.resource}" + ("" if self.resource.ours else " (has the name of this stack, but not its tag)")


def look(stack: Stack) -> list[Finding]:
    """Everything of the stack that exists."""
    seen: dict[tuple[str, str], tuple[Resource, list[str]]] = {}
    for name, found in (("ledger", _by_ledger(stack)), ("tags", _by_tags(stack)), ("names", _by_names(stack))):
        for resource in found:
            seen.setdefault((resource.kind, resource.id), (resource, []))[1].append(name)
    return [Finding(resource, tuple(looks)) for resource, looks in seen.values()]


def _by_ledger(stack: Stack) -> list[Resource]:
    found = {}
    for entry in stack.ledger.entries():
        with explaining(f"look for {entry.kind} {entry.name}"):
            if kind(entry.kind).exists(stack, entry.id):
                found[entry.kind, entry.id] = Resource(entry.kind, entry.name, entry.id)
    return list(found.values())


def _by_tags(stack: Stack) -> list[Resource]:
    with explaining("look for what has the stack's tag"):
        hits = _tagged(stack, stack.name)
    return [resource for arn, tags in hits.items() if (resource := _existing(stack, arn, tags))]


def _existing(stack: Stack, arn: str, tags: dict[str, str]) -> Resource | None:
    """What the tagging API lists, if it exists: it lists what was deleted too, for a while."""
    name = tags.get(NAME_TAG, arn)
    known = next((k for k in KINDS if arn_type(arn) in k.arn_types), None)
    if known is None:
        return Resource(arn_type(arn), name, arn)
    with explaining(f"look for {arn}"):
        return Resource(known.name, name, known.id_of(arn)) if known.exists(stack, known.id_of(arn)) else None


def _by_names(stack: Stack) -> list[Resource]:
    found = []
    for each in KINDS:
        with explaining(f"look for every {each.name}"):
            found += each.find(stack)
    return found


def _tagged(stack: Stack, value: str | None) -> dict[str, dict[str, str]]:
    """The tags of everything that has the stack tag, by ARN; `value` names one stack. Some of it may be deleted."""
    condition = {"Key": STACK_TAG} | ({"Values": [value]} if value else {})
    hits = stack.pages("resourcegroupstaggingapi", "get_resources", "ResourceTagMappingList", TagFilters=[condition])
    return {hit["ResourceARN"]: {tag["Key"]: tag["Value"] for tag in hit["Tags"]} for hit in hits}


def expiries(stack: Stack) -> dict[str, str]:
    """When each stack of this account and region expires: the latest time on any resource that exists."""
    latest: dict[str, str] = {}
    with explaining("look for stacks"):
        hits = _tagged(stack, None)
    for arn, tags in hits.items():
        name, expires = tags[STACK_TAG], tags.get(EXPIRES_TAG, "")
        if expires > latest.get(name, "") and _existing(stack.named(name), arn, tags):
            latest[name] = expires
    return latest


def arn_type(arn: str) -> str:
    """`service:type` of an ARN; the type is empty where the service has one only."""
    _, _, service, _, _, resource = arn.split(":", 5)
    for separator in ("/", ":"):
        if separator in resource:
            return f"{service}:{resource.partition(separator)[0].partition(':')[0]}"
    return f"{service}:"
