"""What every kind of resource can do: be ensured, found, deleted, and looked at whether it is gone."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from infra.aws.client import explaining
from infra.aws.stack import NAME_TAG, STACK_TAG, Stack
from infra.errors import TerminalError, TransientError

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Resource:
    """Something that exists on AWS."""

    kind: str
    name: str
    id: str
    ours: bool = True
    """Whether it carries the stack's tag or is in its ledger. What only has its name is never touched."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + ("" if self.id == self.name else f" ({self.id})")


@dataclass(frozen=True)
class Outcome:
    """What `ensure` did: created, changed or kept."""

    id: str
    did: str


class Kind(ABC):
    """A kind of resource. It holds no state: everything is asked of AWS."""

    name: ClassVar[str]
    arn_types: ClassVar[tuple[str, ...]] = ()
    """`service:type` of its ARNs, by which the tagging API's hits are told apart."""

    @abstractmethod
    def find(self, stack: Stack) -> list[Resource]:
        """The stack's resources of this kind: by name where AWS gives names, else by tag. No tombstones."""

    @abstractmethod
    def exists(self, stack: Stack, ref: str) -> bool:
        """Whether it is there, asked by its id. A tombstone is not."""

    @abstractmethod
    def delete(self, stack: Stack, resource: Resource) -> None:
        """Begin to delete it; again does no harm."""

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        """Create it, with the tags in the same call where AWS can. Returns its id."""
        raise NotImplementedError(f"a {self.name} is never created by itself")

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        """Bring it to its specification, whatever state it was left in. Returns whether anything was changed."""
        return False

    def going(self, stack: Stack, ref: str) -> bool:
        """Whether it is being deleted: listed still, and of no more use."""
        return False

    def id_of(self, arn: str) -> str:
        """The id in an ARN of this kind."""
        return arn.rpartition("/")[2]

    def ensure(self, stack: Stack, name: str, spec: Spec) -> Outcome:
        """Have it, once, as specified.

        Raises:
            TerminalError: something else has its name.
        """
        with explaining(f"look for {self.name} {name}"):
            present = self._present(stack, name)
            going = present is not None and present.ours and self.going(stack, present.id)
        if present is not None and going:
            self.wait_gone(stack, present)
            present = None
        if present is not None and not present.ours:
            raise TerminalError(
                f"{present} has this stack's name but not its tag, so it is not touched: "
                "remove it, or choose another FRAUDFLOW_AWS__STACK"
            )
        if present is None:
            stack.ledger.creating(self.name, name)
            with explaining(f"create {self.name} {name}"):
                found = self.create(stack, name, spec)
            stack.ledger.created(self.name, name, found)
        else:
            found = present.id
        with explaining(f"set up {self.name} {name}"):
            changed = self.settle(stack, name, found, spec)
        return Outcome(found, "created" if present is None else "changed" if changed else "kept")

    def remove(self, stack: Stack, resource: Resource) -> None:
        """Delete it and wait until it is gone.

        Raises:
            TransientError: it is not gone in time.
            TerminalError: it is not this stack's.
        """
        if not resource.ours:
            raise TerminalError(f"{resource} does not carry the tag of stack {stack.name}: not touched")
        with explaining(f"delete {resource}"):
            self.delete(stack, resource)
        self.wait_gone(stack, resource)
        stack.ledger.deleted(self.name, resource.name, resource.id)

    def wait_gone(self, stack: Stack, resource: Resource) -> None:
        """Wait until it is gone."""

        def gone() -> bool:
            with explaining(f"look whether {resource} is gone"):
                return not self.exists(stack, resource.id)

        until(gone, stack, stack.settings.aws.gone_timeout_seconds, f"{resource} is still there")

    def _present(self, stack: Stack, name: str) -> Resource | None:
        for resource in self.find(stack):
            if resource.name == name:
                return resource
        # What was created a moment ago may not be listed yet.
        for entry in stack.ledger.entries():
            if entry.kind == self.name and entry.name == name and self.exists(stack, entry.id):
                return Resource(self.name, name, entry.id)
        return None

    def _resource(self, stack: Stack, name: str, ref: str, tags: Mapping[str, str] | None) -> Resource:
        """A resource that was found; `tags` are its own, None where a container answers for it."""
        ours = tags is None or tags.get(STACK_TAG) == stack.name or stack.ledger.has(self.name, ref)
        return Resource(self.name, (tags or {}).get(NAME_TAG, name), ref, ours)


def tag_map(tags: Sequence[Mapping[str, str]], key: str = "Key", value: str = "Value") -> dict[str, str]:
    """A list of pairs as a mapping."""
    return {tag[key]: tag[value] for tag in tags}


def until(done: Callable[[], bool], stack: Stack, timeout_seconds: float, problem: str) -> None:
    """Poll until it is done.

    Raises:
        TransientError: it took too long.
    """
    deadline = time.monotonic() + timeout_seconds
    while not done():
        if time.monotonic() > deadline:
            raise TransientError(f"{problem} after {timeout_seconds:.0f} s")
        time.sleep(stack.settings.aws.poll_seconds)
