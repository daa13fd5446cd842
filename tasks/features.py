"""The steps that bring customers, merchants and dictionaries into Hazelcast."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from infra.errors import TerminalError
from infra.feature_store import FeatureStore, Manifest
from infra.feature_tables import FeatureTables
from infra.hazelcast import connect
from infra.s3 import is_s3
from infra.settings import get_settings
from scoring.feature_files import FILES, read_feature_files
from simulator.demo import ensure_demo_data
from tasks.files import local_folder
from tasks.progress import ProgressBar
from tasks.retry import transient_only

PROGRESS_SECONDS = 1.0
RETRY_DELAYS = [2.0, 5.0, 10.0]


@task(retries=3, retry_delay_seconds=RETRY_DELAYS, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def find_data(data: str | None, again: bool = False) -> str:
    """The data directory: the one named, else the one loaded last, else the simulator's.

    Args:
        data: named.
        again: the simulator's is not wanted: members that were all away have lost what was loaded, and nobody who runs
            this by a schedule wants customers that do not exist in place of his own.

    Raises:
        TransientError: Hazelcast does not answer.
        TerminalError: nothing is loaded that could be loaded again.
    """
    if data:
        return data
    settings = get_settings()
    client = connect(settings.hazelcast)
    try:
        manifest = FeatureStore(client).read_manifest()
    finally:
        client.shutdown()
    if manifest is None and again:
        raise TerminalError("no features are loaded, and so no folder is known: run load-features with `data`")
    # The simulator's own is made anew where it is not: a container's files end with it.
    return demo_data() if manifest is None or manifest.source == str(_demo_folder().resolve()) else manifest.source


def loaded_tables() -> tuple[Manifest, FeatureTables] | None:
    """What is loaded, with its manifest; None where nothing is.

    Raises:
        TransientError: Hazelcast does not answer, or has lost it.
    """
    client = connect(get_settings().hazelcast)
    try:
        store = FeatureStore(client)
        manifest = store.read_manifest()
        return None if manifest is None else (manifest, store.read_snapshot(manifest))
    finally:
        client.shutdown()


def demo_data() -> str:
    """The simulator's data directory; it is written if it is not there."""
    return str(ensure_demo_data(_demo_folder()))


def _demo_folder() -> Path:
    return get_settings().local.home.expanduser() / "demo-data"


@task(retries=3, retry_delay_seconds=RETRY_DELAYS, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def load_into_hazelcast(data: str) -> dict[str, Any]:
    """Read, check and load a data directory, of this machine or in S3 (`s3://bucket/folder`).

    Returns:
        Version, counts by map, seconds, and whether anything was loaded.

    Raises:
        InputError: a file or a row cannot be used; the version before stays in use.
        TransientError: Hazelcast, or S3, is away.
    """
    started = time.monotonic()
    tables = read_feature_files(local_folder(data, FILES))
    if is_s3(data):
        # Whoever loads again without naming anything goes there, and not to a copy.
        tables = replace(tables, source=data)
    get_run_logger().info("read %s rows from %s: version %s", f"{sum(tables.counts.values()):,}", data, tables.version)
    client = connect(get_settings().hazelcast)
    try:
        loaded = FeatureStore(client).load(tables, _Progress())
    finally:
        client.shutdown()
    uncoded = tables.customers.select(pl.any_horizontal(pl.col("^.*_code$").is_null()).sum()).item()
    return {
        "version": tables.version,
        "loaded": loaded,
        "counts": tables.counts,
        "customers_without_code": uncoded,
        "source": tables.source,
        "seconds": round(time.monotonic() - started, 1),
    }


class _Progress:
    """A progress bar in the UI, updated at most once a second."""

    def __init__(self) -> None:
        self._bar = ProgressBar("load-features-progress", "rows in Hazelcast")
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next and done < total:
            return
        self._next = now + PROGRESS_SECONDS
        self._bar.show(100.0 * done / total)
