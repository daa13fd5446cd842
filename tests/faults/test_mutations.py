"""Each rule of the loop, broken once: a named case must fail for it, and pass without it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.errors import FraudflowError
from tests.faults import cases, mutations
from tests.faults.arena import Arena
from tests.faults.case import Case
from tests.faults.test_brokers import frozen_in_commit

pytestmark = [pytest.mark.mutations, pytest.mark.server]

# A broken scorer may never end.
PATIENCE_SECONDS = 45.0


def broker_frozen_inside_a_commit(case: Case) -> None:
    """The broker stands still inside a commit, past its time-out."""
    frozen_in_commit(case.arena, case)


DETECTED_BY = {
    "stay_ahead": cases.aborted,
    "commit_positions": cases.aborted_and_killed,
    "read_uncommitted": cases.aborted_input,
    "commit_by_itself": cases.slow_and_killed,
    "keep_the_producer": broker_frozen_inside_a_commit,
    "end_out_of_turn": cases.aborted_before_the_next,
    "keep_the_metadata": cases.joined,
    "name_the_group_only": cases.zombie("before_begin"),
    "keep_the_batch": cases.joined_inside_a_take,
    "dead_letters_outside": cases.killed_at("after_offsets", 6),
    "offsets_first": cases.killed_at("after_begin", 6),
    "offsets_afterwards": cases.killed_at("after_begin", 6),
}


def test_every_mutation_has_a_case():
    assert DETECTED_BY.keys() == mutations.ALL.keys()


def test_every_broken_rule_is_found(arena: Arena):
    """Three at a time; the one that freezes the broker freezes all others with it, and runs alone."""
    names = [name for name in mutations.ALL if name != "keep_the_producer"]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda name: _found(arena, name), names))
    answers.append(_found(arena, "keep_the_producer"))
    assert not [answer for answer in answers if answer]


def _found(arena: Arena, name: str) -> str:
    """What is wrong with the detection of a mutation: nothing, one hopes."""
    scenario = DETECTED_BY[name]
    what = (scenario.__doc__ or "").strip()
    try:
        with arena.case(f"{name}_unbroken", what) as case:
            scenario(case)
            case.judge()
    except AssertionError as error:
        return f"{name}: fails without it too: {error}"
    try:
        with arena.case(name, what) as case:
            case.report.mutation, case.drain_seconds = name, PATIENCE_SECONDS
            scenario(case)
            case.judge()
    except (AssertionError, FraudflowError):
        return ""
    return f"{name}: no case fails"
