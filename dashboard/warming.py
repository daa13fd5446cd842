"""Asks what the pages ask first: a new statement costs the cluster a second, for it is planned and compiled there."""

import threading
import time

from dashboard import queries
from dashboard.queries import Filters
from dashboard.services import Services

_RETRY_SECONDS = 5.0


def start(shared: Services) -> None:
    """Until each question has an answer, in the background."""
    threading.Thread(target=_warm, args=(shared,), name="warming", daemon=True).start()


def _warm(shared: Services) -> None:
    while True:
        reading, since = shared.whole.reading, shared.whole.since()
        answers = shared.answers.ask(
            *queries.explored(shared.threshold.start, Filters(), queries.FIRST_DIMENSION, since),
            queries.truth_above(since),
            wait_seconds=_RETRY_SECONDS,
        )
        if reading is None and all(answer.frame is not None for answer in answers):
            return
        time.sleep(_RETRY_SECONDS)
