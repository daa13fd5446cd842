"""Bringing files of S3 to where a flow runs, with what people see of it meanwhile."""

import time
from collections.abc import Sequence
from pathlib import Path

from prefect import get_run_logger

from infra import s3
from infra.settings import get_settings

PROGRESS_SECONDS = 2.0
_MB = 1_000_000


def local_file(place: str) -> Path:
    """The file of that name: of this machine, or a copy of `s3://bucket/key`; it raises what `s3.fetch` does."""
    if not s3.is_s3(place):
        return Path(place)
    settings = get_settings()
    return s3.fetch(place, settings.local.cache.expanduser(), settings.aws.region, _Told())


def local_folder(place: str, names: Sequence[str]) -> Path:
    """The folder of that name: of this machine, or one with copies of these files of `s3://bucket/folder`."""
    if not s3.is_s3(place):
        return Path(place)
    settings = get_settings()
    return s3.fetch_folder(place, names, settings.local.cache.expanduser(), settings.aws.region, _Told())


class _Told:
    """A log line for each file that came, and every other second for one that takes long."""

    def __init__(self) -> None:
        self._logger = get_run_logger()
        self._next = time.monotonic() + PROGRESS_SECONDS

    def __call__(self, uri: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now < self._next:
            return
        self._next = now + PROGRESS_SECONDS
        self._logger.info("%s: %.1f of %.1f MB", uri, done / _MB, total / _MB)
