"""Keeps the projection's jobs in Hazelcast where no flow supervises the scorers and does it, as on ECS."""

import logging
import threading

from infra.errors import FraudflowError
from infra.projection import ensure_projection
from infra.settings import Settings

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
CONNECT_SECONDS = 2.0
# A call to Hazelcast is given up after 15 s by default, and ECS waits 60 s for a scorer to end.
STOP_SECONDS = 20.0


class ProjectionWatch(threading.Thread):
    """Makes the jobs that are missing: they die with the last Hazelcast member. Scoring never waits for it.

    Every scorer of a group looks. Two that make the same job at once do no harm: one of them makes it, and where one
    drops the topic's mapping under the other, the other finds the jobs at its next look.
    """

    def __init__(self, settings: Settings):
        super().__init__(name="projection-watch", daemon=True)
        self._settings = settings
        self._stop_event = threading.Event()
        self._told = ""

    def stop(self) -> None:
        """End the thread. A look that is under way ends first: it takes the mapping with Kafka's login away again."""
        self._stop_event.set()
        self.join(STOP_SECONDS)

    def run(self) -> None:
        """Look, make what is missing, wait; for as long as the scorer lives."""
        while not self._stop_event.is_set():
            try:
                ensure_projection(self._settings, CONNECT_SECONDS)
                self._told = ""
            except FraudflowError as error:
                if str(error) != self._told:
                    logger.warning("no projection for now: %s", error)
                self._told = str(error)
            self._stop_event.wait(LOOK_SECONDS)
