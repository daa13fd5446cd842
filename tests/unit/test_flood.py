"""A flood of the same line is counted, not written."""

import logging

import pytest

from scoring.flood import FloodFilter


def test_a_line_is_told_some_times_a_minute_and_then_counted(caplog: pytest.LogCaptureFixture):
    now = 0.0
    flood = FloodFilter(lambda: now)
    caplog.handler.addFilter(flood)
    logger = logging.getLogger("test")

    def poison(number: int) -> None:
        logger.warning("transaction %d is poison", number)

    try:
        for number in range(1_000):
            poison(number)
        logger.warning("another line")
        for _ in range(10):
            logger.error("errors all pass")
        assert caplog.messages[:5] == [f"transaction {number} is poison" for number in range(5)]
        assert caplog.messages[5:] == ["another line"] + ["errors all pass"] * 10
        now = 61.0
        poison(7)
        assert caplog.messages[-1] == "transaction 7 is poison (995 more like it were left out)"
        now = 122.0
        poison(8)
        assert caplog.messages[-1] == "transaction 8 is poison"
    finally:
        caplog.handler.removeFilter(flood)
