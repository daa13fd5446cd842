"""The work queue: the largest amounts at risk that nobody has judged."""

import polars as pl

from dashboard import queries
from dashboard.answers import Answer, Answers
from dashboard.desk import Desk

SHOWN = 200


class Queue:
    """One for all sessions. Judged cases are among the suspected still, so more are asked for than are shown.

    How many more is remembered: each number of rows is a question of its own, which is kept new while it is asked.
    """

    def __init__(self, answers: Answers, desk: Desk):
        self._answers, self._desk = answers, desk
        self._room = 2 * SHOWN

    def largest_open(self, threshold: float) -> tuple[Answer, pl.DataFrame]:
        """The answer that they are from, and rows of it: a case's columns and `at_risk`, the largest first."""
        while True:
            room = self._room
            (answer,) = self._answers.ask(queries.queue(threshold, room))
            found = pl.DataFrame() if answer.frame is None else answer.frame
            cases = self._desk.open_cases(found) if found.height else found
            if cases.height >= SHOWN or found.height < room:
                if cases.height > 4 * SHOWN:
                    self._room = max(room // 2, 2 * SHOWN)
                return answer, cases.head(SHOWN)
            self._room = 2 * room
