"""Features in Hazelcast: maps that anyone can look into, and a snapshot that scorers read whole.

`customerMap`, `merchantMap` and the dictionaries are filled in place, entry by entry, so somebody who reads them
during a load sees both versions. Scorers do not: they read `featureSnapshot`, whose chunks carry their version in
the key and are never changed, and only after `featureManifest` names that version, which is the last write
of a load. Where a load ends half-way, the manifest still names the version before, and its chunks are there.
"""

import io
import json
import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Self

import msgspec
import numpy as np
import polars as pl
from hazelcast.client import HazelcastClient
from hazelcast.core import HazelcastJsonValue
from hazelcast.errors import HazelcastError

from infra.errors import TransientError
from infra.feature_tables import CUSTOMER_SCHEMA, FeatureTables, card_key, parts_of
from infra.hazelcast import CUSTOMERS, MANIFEST, MERCHANTS, SNAPSHOTS

# One `put_all` asks every partition: many rows make that worth it, too many make the member's heap swell.
BATCH_ROWS = 10_000
# About 3 MB of compressed Arrow: well below what slows a Hazelcast client down, few enough to read at once.
SNAPSHOT_ROWS = 50_000
# More customers than that are cut into so many parts, or a multiple: most numbers of partitions divide it, and a scorer
# then needs the parts of its own partitions alone.
PARTS = 240
_READ_AT_ONCE = 20
LOCK_SECONDS = 10.0

_CURRENT, _LOADING = "current", "loading"

Progress = Callable[[int, int], None]


class Manifest(msgspec.Struct, frozen=True):
    """What is loaded. `state` is "ready"; under the key `loading` there is one with "loading" while a load runs."""

    version: str
    state: str
    counts: dict[str, int]
    sha256: dict[str, str]
    chunks: list[str]
    source: str
    loaded_at: str
    parts: int = 1
    """Into which the customers are cut, see `parts_of`."""

    @classmethod
    def of(cls, tables: FeatureTables, state: str, chunks: list[str]) -> Self:
        """The manifest of these tables as of now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        parts = _parts(tables.customers.height)
        return cls(tables.version, state, tables.counts, tables.sha256, chunks, tables.source, now, parts)

    @property
    def customers(self) -> int:
        """How many there are."""
        return self.counts[CUSTOMERS]


class FeatureStore:
    """The features of one Hazelcast cluster."""

    def __init__(self, client: HazelcastClient):
        self._client = client
        self._manifests = client.get_map(MANIFEST).blocking()

    def read_manifest(self) -> Manifest | None:
        """What is loaded; None where nothing is, or where the cluster has lost it."""
        return self._manifest(_CURRENT)

    def read_snapshot(self, manifest: Manifest, parts: Collection[int] | None = None) -> FeatureTables:
        """The tables of a manifest.

        Args:
            manifest: of the version.
            parts: of the customers; left out: all of them.

        Raises:
            TransientError: the snapshot is gone, because a newer one took its place or the cluster lost it.
        """
        return FeatureTables(
            version=manifest.version,
            customers=self.read_customers(manifest, parts),
            merchants=pl.concat([pl.read_ipc(chunk) for chunk in self._chunks(manifest, "merchants")]),
            dictionaries=json.loads(self._chunks(manifest, "dictionaries")[0]),
            sha256=manifest.sha256,
            source=manifest.source,
        )

    def read_customers(self, manifest: Manifest, parts: Collection[int] | None = None) -> pl.DataFrame:
        """The customers of some parts, or all; see `read_snapshot`."""
        chunks = self._chunks(manifest, "customers", parts)
        return pl.concat([CUSTOMER_SCHEMA.to_frame(), *map(pl.read_ipc, chunks)])

    def _chunks(self, manifest: Manifest, table: str, numbers: Collection[int] | None = None) -> list[bytes]:
        keys = []
        for key in manifest.chunks:
            _, of, number = key.split("/")
            if of == table and (numbers is None or int(number) in numbers):
                keys.append(key)
        snapshots = self._client.get_map(SNAPSHOTS).blocking()
        found: dict[str, Any] = {}
        for start in range(0, len(keys), _READ_AT_ONCE):
            found |= snapshots.get_all(keys[start : start + _READ_AT_ONCE])
        if len(found) < len(keys):
            raise TransientError(f"features {manifest.version} are gone from Hazelcast: run load-features")
        return [bytes(found[key]) for key in keys]

    def holds(self, version: str) -> bool:
        """Whether this version is loaded, completely: the maps are counted, for the cluster may have lost some."""
        manifest = self.read_manifest()
        if manifest is None or manifest.version != version or self._manifest(_LOADING) is not None:
            return False
        sizes = [self._client.get_map(name).size() for name in manifest.counts]
        snapshots = self._client.get_map(SNAPSHOTS)
        chunks = [snapshots.contains_key(key) for key in manifest.chunks]
        return [size.result() for size in sizes] == list(manifest.counts.values()) and all(
            chunk.result() for chunk in chunks
        )

    def load(self, tables: FeatureTables, progress: Progress = lambda _done, _total: None) -> bool:
        """Load these tables unless they are loaded already.

        Args:
            tables: what to load.
            progress: told after each batch how many of all rows are in.

        Returns:
            Whether anything had to be loaded.

        Raises:
            TransientError: Hazelcast is away, or somebody else is loading. The version before stays in use.
        """
        try:
            with self._alone():
                if self.holds(tables.version):
                    return False
                self._load(tables, progress)
                return True
        except HazelcastError as error:
            raise TransientError(f"Hazelcast did not take the features: {error}") from error

    def clear(self) -> None:
        """Remove everything, the current manifest first: no reader takes up what is about to go.

        What the maps are called stays known until they are empty, so that a clearing that broke off can be done again.

        Raises:
            TransientError: somebody is loading.
        """
        with self._alone():
            current, loading = self.read_manifest(), self._manifest(_LOADING)
            counts = {name: count for one in (current, loading) if one for name, count in one.counts.items()}
            if current:
                self._write_manifest(_LOADING, msgspec.structs.replace(current, counts=counts))
                self._manifests.remove(_CURRENT)
            for name in {CUSTOMERS, MERCHANTS, SNAPSHOTS, *counts}:
                self._client.get_map(name).clear().result()
            self._manifests.remove(_LOADING)

    def is_empty(self) -> bool:
        """Whether nothing is loaded, not even a part."""
        return self._manifests.is_empty()

    def _load(self, tables: FeatureTables, progress: Progress) -> None:
        before = self.read_manifest()
        self._write_manifest(_LOADING, Manifest.of(tables, "loading", []))
        chunks = self._write_snapshot(tables)
        total, done = sum(tables.counts.values()), 0
        for name, batch in _entries(tables):
            self._client.get_map(name).put_all(batch).result()
            done += len(batch)
            progress(done, total)
        for name in tables.counts:
            self._keep_only(name, _keys_of(tables, name))
        self._write_manifest(_CURRENT, Manifest.of(tables, "ready", chunks))
        # Of the version before, scorers may hold some customers only, and go on with it until they have read histories.
        self._keep_only(SNAPSHOTS, chunks + (before.chunks if before else []))
        self._manifests.remove(_LOADING)

    def _write_snapshot(self, tables: FeatureTables) -> list[str]:
        snapshots = self._client.get_map(SNAPSHOTS).blocking()
        keys = []
        for name, number, frame in _pieces(tables):
            target = io.BytesIO()
            frame.write_ipc(target, compression="zstd")
            keys.append(f"{tables.version}/{name}/{number}")
            # bytearray: the client pickles bytes.
            snapshots.set(keys[-1], bytearray(target.getbuffer()))
        keys.append(f"{tables.version}/dictionaries/0")
        snapshots.set(keys[-1], bytearray(json.dumps(tables.dictionaries).encode()))
        return keys

    def _keep_only(self, name: str, keys: list[str]) -> None:
        """Remove every other entry of a map that has all of these."""
        entries = self._client.get_map(name)
        if entries.size().result() == len(keys):
            return
        wanted = set(keys)
        strangers = [key for key in entries.key_set().result() if key not in wanted]
        for start in range(0, len(strangers), BATCH_ROWS):
            for deletion in [entries.delete(key) for key in strangers[start : start + BATCH_ROWS]]:
                deletion.result()

    def _manifest(self, key: str) -> Manifest | None:
        value = self._manifests.get(key)
        return msgspec.json.decode(value.to_string(), type=Manifest) if value is not None else None

    def _write_manifest(self, key: str, manifest: Manifest) -> None:
        self._manifests.set(key, HazelcastJsonValue(msgspec.json.encode(manifest).decode()))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other loads out. The members let go of the lock of a client that is gone."""
        if not self._manifests.try_lock(_LOADING, timeout=LOCK_SECONDS):
            raise TransientError("another load of features is under way")
        try:
            yield
        finally:
            self._manifests.unlock(_LOADING)


def _parts(customers: int) -> int:
    return 1 if customers <= SNAPSHOT_ROWS else PARTS * math.ceil(customers / PARTS / SNAPSHOT_ROWS)


def _pieces(tables: FeatureTables) -> Iterator[tuple[str, int, pl.DataFrame]]:
    """Table, number and rows of each chunk; a part without customers has none."""
    customers = tables.customers
    part = parts_of(map(card_key, customers["card"]), _parts(customers.height))
    order = np.argsort(part, kind="stable")
    ordered = customers[order]
    starts = np.flatnonzero(np.diff(part[order], prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        yield "customers", int(part[order[start]]), ordered[start:end]
    for start in range(0, tables.merchants.height, SNAPSHOT_ROWS):
        yield "merchants", start, tables.merchants.slice(start, SNAPSHOT_ROWS)


def _entries(tables: FeatureTables) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Map name and entries, in batches."""
    for start in range(0, tables.customers.height, BATCH_ROWS):
        yield CUSTOMERS, _json_rows(tables.customers.slice(start, BATCH_ROWS), "card")
    for start in range(0, tables.merchants.height, BATCH_ROWS):
        yield MERCHANTS, _json_rows(tables.merchants.slice(start, BATCH_ROWS), "merchant")
    for name, codes in tables.dictionaries.items():
        items = list(codes.items())
        for start in range(0, len(items), BATCH_ROWS):
            yield name, dict(items[start : start + BATCH_ROWS])


def _json_rows(frame: pl.DataFrame, key: str) -> dict[str, HazelcastJsonValue]:
    rows = frame.write_ndjson().split("\n")
    return dict(zip(frame[key].to_list(), map(HazelcastJsonValue, rows[: frame.height]), strict=True))


def _keys_of(tables: FeatureTables, name: str) -> list[str]:
    if name == CUSTOMERS:
        return tables.customers["card"].to_list()
    if name == MERCHANTS:
        return tables.merchants["merchant"].to_list()
    return list(tables.dictionaries[name])
