"""A few faults that every test run goes through; `make faults` has them all."""

import pytest

from tests.faults.arena import Arena, Scenario, together
from tests.faults.cases import aborted, joined_inside_a_take, killed_at, zombie

pytestmark = pytest.mark.server

CASES: dict[str, Scenario] = {
    "killed with its offsets sent": killed_at("after_offsets", 6),
    "killed inside the commit": killed_at("in_commit", 6, 5),
    "killed after the commit": killed_at("after_commit", 6),
    "frozen past its session, then awake": zombie("before_begin"),
    "aborted": aborted,
    "rebalanced inside a take": joined_inside_a_take,
}


def test_nothing_is_lost_doubled_or_changed(calm_servers: Arena):
    together(calm_servers, CASES, at_once=len(CASES))
    assert len(calm_servers.reports) == 1 + len(CASES)
