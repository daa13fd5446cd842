"""Sending transactions to Kafka, with what people see of it meanwhile."""

import time
from datetime import date, datetime
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from infra.seeding import Seeded, seed
from infra.settings import get_settings
from infra.transaction_sources import Source, open_source
from scoring.feature_files import CUSTOMERS, MERCHANTS
from simulator.source import simulated
from simulator.transactions import START
from tasks.features import demo_data
from tasks.files import local_file, local_folder
from tasks.progress import ProgressBar
from tasks.retry import transient_only

# Each is a call to Prefect's server, between two Kafka transactions.
PROGRESS_SECONDS = 2.0


@task(retries=5, retry_delay_seconds=[1, 2, 5, 15, 30], retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def send_transactions(
    seed_id: str,
    transactions: str | None,
    data: str | None,
    count: int,
    rate: float | None,
    random_seed: int,
    start: date | None,
) -> Seeded:
    """Send the transactions of a file, or simulated ones; a try with the same `seed_id` takes up where one ended.

    Raises:
        TransientError: Kafka did not take them, or S3 is away.
        TerminalError: a file or a setting must be mended.
    """
    settings = get_settings()
    source = open_source(local_file(transactions)) if transactions else _simulated(data, count, random_seed, start)
    return seed(settings.kafka, source, seed_id, rate=rate, on_progress=_Progress())


def _simulated(data: str | None, count: int, random_seed: int, start: date | None) -> Source:
    midnight = datetime(start.year, start.month, start.day) if start else START  # noqa: DTZ001 - as in START
    return simulated(_population(data), count, random_seed, start=midnight)


def _population(data: str | None) -> Path:
    return local_folder(data, (CUSTOMERS, MERCHANTS)) if data else Path(demo_data())


class _Progress:
    """A progress bar and log lines."""

    def __init__(self) -> None:
        self._logger = get_run_logger()
        self._bar = ProgressBar("seeding", "Transactions sent to Kafka")
        self._started = self._shown = time.monotonic()
        self._first: int | None = None

    def __call__(self, rows: int, total: int | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = rows
            self._logger.info("%s of %s rows are in the topic already", f"{rows:,}", _or_unknown(total))
        elif now - self._shown < PROGRESS_SECONDS and rows != total:
            return
        else:
            pace = (rows - self._first) / max(now - self._started, 1e-9)
            self._logger.info("%s of %s rows sent, %s rows/s", f"{rows:,}", _or_unknown(total), f"{pace:,.0f}")
        self._shown = now
        if total:
            self._bar.show(min(100.0, 100 * rows / total))


def _or_unknown(total: int | None) -> str:
    return "an unknown number of" if total is None else f"{total:,}"
