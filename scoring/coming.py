"""Histories of newer features, read back beside the scoring, which goes on with those before until they are there."""

import logging
import threading

from confluent_kafka import KafkaException, TopicPartition

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
        self.past = Past(settings.kafka, features, settings.scoring.snapshot_rows)
        self.ready = False
        """Whether `past` can be had; until then it belongs to the thread."""
        self._committed = committed
        self._dropped = threading.Event()
        threading.Thread(target=self._read, name="coming-past", daemon=True).start()

    def drop(self) -> None:
        """Read no further: it is had, other features have come, or the scorer ends."""
        self._dropped.set()

    def _read(self) -> None:
        while not self._dropped.is_set():
            try:
                self.past.restore(self._committed, self._alive)
            except _Dropped:
                return
            except (TransientError, KafkaException) as error:
                logger.warning("histories with features %s are read again soon: %s", self.features.version, error)
                self._dropped.wait(_RETRY_SECONDS)
            else:
                self.ready = True
                return

    def _alive(self) -> None:
        if self._dropped.is_set():
            raise _Dropped
