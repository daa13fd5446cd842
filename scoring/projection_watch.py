"""Keeps the projection's jobs in Hazelcast, beside those who score or supervise."""

import logging
import threading

from hazelcast.errors import HazelcastError

from infra.errors import FraudflowError
from infra.projection import ensure_projection
from infra.settings import Settings

logger = logging.getLogger(__name__)
Log = logging.Logger | logging.LoggerAdapter[logging.Logger]

LOOK_SECONDS = 10.0
CONNECT_SECONDS = 2.0
# A call to Hazelcast is given up after 15 s by default, and ECS waits 60 s for a scorer to end.
STOP_SECONDS = 20.0


class ProjectionWatch(threading.Thread):
    """Makes the jobs that are missing: they die with the last Hazelcast member. Scoring never waits or ends for it.

    The `score` flow looks, and where there is none, as on ECS, every scorer of a group does. Two that make the same
    job at once do no harm: one of them makes it, and where one drops the topic's mapping under the other, the other
    finds the jobs at its next look.
    """

    def __init__(self, settings: Settings, log: Log = logger):
        """Args: `log` is told what was made, and once what stands in the way."""
        super().__init__(name="projection-watch", daemon=True)
        self._settings, self._log = settings, log
        self._stop_event = threading.Event()
        self._told = ""

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End the thread. A look that is under way ends first: it takes the mapping with Kafka's login away again."""
        self._stop_event.set()
        self.join(seconds)

    def run(self) -> None:
        """Look, make what is missing, wait; for as long as the scorer lives."""
        while not self._stop_event.is_set():
            try:
                created = ensure_projection(self._settings, CONNECT_SECONDS)
            except (FraudflowError, HazelcastError) as error:
                if str(error) != self._told:
                    self._log.warning("no projection for now: %s", error)
                self._told = str(error)
            else:
                self._told = ""
                if created:
                    self._log.info("projection: created %s", ", ".join(created))
            self._stop_event.wait(LOOK_SECONDS)
