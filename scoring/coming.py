"""Histories of newer features, read back beside the scoring, which goes on with those before until they are there."""

import logging
import threading

from confluent_kafka import KafkaException, TopicPartition

from infra.daemon import DaemonThread
from infra.errors import TransientError
from infra.settings import Settings
from scoring.features import Features
from scoring.past import Past

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 5.0


class _Dropped(Exception):
    """Nobody waits for these histories any more."""


class ComingPast:
    """A past that is brought to the offsets committed by now; what is committed meanwhile is left to read then."""

    def __init__(self, settings: Settings, features: Features, committed: list[TopicPartition]):
        """Begin. Args: `committed` are offsets with their metadata."""
        self.features = features
        self._past = Past(settings.kafka, features, settings.scoring.snapshot_rows)
        self._dropped = threading.Event()
        thread = DaemonThread("coming-past")
        self._reading = thread.submit(self._read, committed)
        thread.close()

    def past(self) -> Past | None:
        """The past, once it is read; until then it belongs to the thread.

        Raises:
            TerminalError: the log cannot be read.
        """
        return self._reading.result() if self._reading.done() else None

    def drop(self) -> None:
        """Read no further: it is had, other features have come, or the scorer ends."""
        self._dropped.set()

    def _read(self, committed: list[TopicPartition]) -> Past:
        while True:
            try:
                self._past.restore(committed, self._alive)
            except (TransientError, KafkaException) as error:
                logger.warning("histories with features %s are read again soon: %s", self.features.version, error)
                self._dropped.wait(_RETRY_SECONDS)
                self._alive()
            else:
                return self._past

    def _alive(self) -> None:
        if self._dropped.is_set():
            raise _Dropped
