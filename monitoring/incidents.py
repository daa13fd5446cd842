"""What is wrong is told once: an incident begins, lasts and ends, however often it is looked at."""

from dataclasses import dataclass
from typing import Any

# An incident ends after that many looks in a row that did not see it: a value that sways around its limit is one
# incident, not many.
CALM_LOOKS = 2


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        key: the same for the same trouble, whatever its size: `drift:amt`, `lag`.
        kind: drift, quality, operations.
        text: for people, with the value and its limit.
    """

    key: str
    kind: str
    text: str


@dataclass(frozen=True)
class Change:
    """What a look has changed.

    Attributes:
        begun: findings to be told of now.
        lasting: those that were told of before.
        ended: keys of incidents that are over.
        state: what to give to the next look; plain values.
    """

    begun: list[Finding]
    lasting: list[Finding]
    ended: list[str]
    state: dict[str, Any]


def follow(state: dict[str, Any], findings: list[Finding], at: str) -> Change:
    """Compare a look with what was known.

    Args:
        state: of the look before; empty at first.
        findings: of this one.
        at: when it is, for the record.
    """
    found = {finding.key: finding for finding in findings}
    begun = [finding for key, finding in found.items() if key not in state]
    lasting = [finding for key, finding in found.items() if key in state]
    after = {key: {"since": state[key]["since"] if key in state else at, "calm": 0} for key in found}
    ended = []
    for key, known in state.items():
        if key in found:
            continue
        calm = known["calm"] + 1
        if calm >= CALM_LOOKS:
            ended.append(key)
        else:
            after[key] = {"since": known["since"], "calm": calm}
    return Change(begun, lasting, ended, after)
