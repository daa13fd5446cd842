"""A few faults that every test run goes through; `make faults` has them all."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.arena import Arena, Scenario
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
    """At the same time, each with topics and scorers of its own: they spend most of it waiting for sessions to end."""

    def run(name: str) -> None:
        with calm_servers.case(name, name) as case:
            CASES[name](case)
            case.judge()

    with ThreadPoolExecutor(len(CASES)) as pool:
        for ended in [pool.submit(run, name) for name in CASES]:
            ended.result()
    assert len(calm_servers.reports) == 1 + len(CASES)
