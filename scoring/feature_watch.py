"""Keeps the features of a scorer as new as the manifest in Hazelcast, outside the scoring thread."""

import logging
import threading
from collections.abc import Collection
from functools import partial

import polars as pl
from hazelcast.errors import HazelcastError

from infra.errors import TerminalError, TransientError
from infra.feature_store import FeatureStore, Manifest
from infra.hazelcast import connect
from infra.settings import Settings
from scoring.features import CUSTOMER_COLUMNS, Features
from scoring.lookup import Customers

logger = logging.getLogger(__name__)


class FeatureWatch(threading.Thread):
    """Looks at the manifest every `feature_poll_seconds` and loads what it names.

    Hazelcast away, or back with empty maps, changes nothing for a scorer that has features: it goes on with
    those, and every prediction says which version it used. A scorer without features waits.
    """

    def __init__(self, settings: Settings):
        super().__init__(name="feature-watch", daemon=True)
        self._settings = settings
        self._store: FeatureStore | None = None
        self._newest: Features | None = None
        self._stop_event = threading.Event()
        self._changed = threading.Event()
        self._failure: TerminalError | None = None
        self.state = "waiting for features: run load-features"

    def newest(self) -> Features | None:
        """The newest features loaded so far."""
        return self._newest

    def wait(self, seconds: float) -> Features | None:
        """The newest features, waited for at most `seconds`.

        Raises:
            TerminalError: there will be none; the settings do not say where.
        """
        self._changed.wait(seconds)
        if self._failure:
            raise self._failure
        return self._newest

    def stop(self) -> None:
        """End the thread at its next look."""
        self._stop_event.set()

    def run(self) -> None:
        """Connect, look, load; for as long as the scorer lives."""
        while not self._stop_event.is_set():
            try:
                client = connect(self._settings.hazelcast)
            except TransientError as error:
                self._tell(f"waiting for Hazelcast: {error}")
                self._stop_event.wait(self._settings.scoring.feature_poll_seconds)
                continue
            except TerminalError as error:
                self._failure = error
                self._changed.set()
                return
            try:
                self._store = FeatureStore(client)
                self._watch(self._store)
            except (HazelcastError, TransientError) as error:
                self._tell(f"waiting for Hazelcast: {error}")
                self._stop_event.wait(self._settings.scoring.feature_poll_seconds)
            except Exception as error:  # noqa: BLE001 - whatever lies in Hazelcast: a scorer goes on with what it has
                self._tell(f"waiting for features that can be read; these cannot: {type(error).__name__}: {error}")
                self._stop_event.wait(self._settings.scoring.feature_poll_seconds)
            finally:
                self._store = None
                client.shutdown()

    def _watch(self, store: FeatureStore) -> None:
        while not self._stop_event.is_set():
            manifest = store.read_manifest()
            if manifest is None:
                self._tell("waiting for features: no manifest in Hazelcast, run load-features")
            elif self._newest is None or manifest.version != self._newest.version:
                self._newest = self._features(store, manifest)
                self._changed.set()
                self._tell(f"features {manifest.version}")
            self._stop_event.wait(self._settings.scoring.feature_poll_seconds)

    def _features(self, store: FeatureStore, manifest: Manifest) -> Features:
        if manifest.parts == 1 or manifest.customers <= self._settings.scoring.resident_customers:
            return Features(store.read_snapshot(manifest))
        before = self._newest.customer if self._newest else None
        # The cards of the version before will be seen again.
        parts = before.held if before and before.parts == manifest.parts else frozenset()
        tables = store.read_snapshot(manifest, parts)
        fetch = partial(self._fetch, manifest)
        return Features(tables, Customers(tables.customers, CUSTOMER_COLUMNS, manifest.parts, parts, fetch))

    def _fetch(self, manifest: Manifest, parts: Collection[int]) -> pl.DataFrame:
        """Customers of further parts, asked for by the scoring thread."""
        store = self._store
        if store is None:
            raise TransientError(f"customers of features {manifest.version} are needed, and Hazelcast is away")
        try:
            return store.read_customers(manifest, parts)
        except HazelcastError as error:
            raise TransientError(f"customers of features {manifest.version} cannot be read: {error}") from error

    def _tell(self, state: str) -> None:
        if state != self.state:
            self.state = state
            logger.info(state)
