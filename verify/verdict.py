"""What a verification says: one line for each invariant, the counts behind it, the first offenders."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["held", "violated", "not checked"]


@dataclass
class Check:
    """One invariant."""

    letter: str
    title: str
    state: State = "held"
    violations: int = 0
    offenders: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """What was asked for and could not be checked, in whole or in part."""
    notes: list[str] = field(default_factory=list)

    def violate(self, count: int, offenders: list[str]) -> None:
        """Add violations; none changes nothing."""
        if count:
            self.state = "violated"
            self.violations += count
            self.offenders += offenders


@dataclass
class Verdict:
    """All of it."""

    checks: list[Check]
    counts: dict[str, int]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether no invariant was found violated."""
        return all(check.state != "violated" for check in self.checks)

    @property
    def complete(self) -> bool:
        """Whether all that was asked for could be checked."""
        return not any(check.unchecked for check in self.checks)

    def of(self, letter: str) -> Check:
        """The check of that letter."""
        return next(check for check in self.checks if check.letter == letter)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "holds": self.holds,
            "complete": self.complete,
            "counts": self.counts,
            "checks": {check.letter: asdict(check) for check in self.checks},
            "seconds": round(self.seconds, 3),
        }

    def merge(self, check: Check) -> None:
        """Add what a check of the same letter found elsewhere."""
        own = self.of(check.letter)
        own.violate(check.violations, check.offenders)
        own.unchecked += check.unchecked
        own.notes += check.notes
