"""Starts runs of deployments and follows them over Prefect's API."""

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
    LogFilterTimestamp,
)
from prefect.client.schemas.objects import Log
from prefect.client.schemas.sorting import FlowRunSort, LogSort
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.pipeline import SUMMARY_TYPE
from infra.errors import TerminalError, TransientError, passes
from infra.seeding import newest_day
from infra.settings import KafkaSettings, get_settings
from simulator.transactions import START

PIPELINE = "pipeline/local"
POLL_SECONDS = 0.5
_LOG_DELAY = timedelta(seconds=3)
_LAST_LINES_SECONDS = 6.0
_PAGE = 200
# A worker asks every few seconds. The states of a run that none has seen.
_WORKER_SECONDS = 20.0
_UNTAKEN = ("Scheduled", "Late")
_UNKNOWN_TO_IT = {401, 403}  # HTTP's words for a login that does not do
_LOOK = "`fraudflow status` shows what runs, `fraudflow up` starts what does not"


def run_pipeline(parameters: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Run the pipeline; the summary that its flow left, with the addresses to look at."""
    run_id, url = run_deployment(PIPELINE, parameters, progress)
    with _client() as client:
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]),
                type=ArtifactFilterType(any_=[SUMMARY_TYPE]),
            )
        )
    settings = get_settings()
    addresses = {"prefect_ui_url": settings.prefect_pages, "dashboard_url": settings.dashboard_url, "run_url": url}
    return json.loads(str(artifacts[0].data)) | addresses


def next_simulation(kafka: KafkaSettings) -> tuple[int, date | None]:
    """Seed and first day of simulated transactions that come after those that are there.

    The same ones sent again would be scored as what each card did twice.
    """
    newest = newest_day(kafka)
    if newest is None:
        return 1, None
    start = newest + timedelta(days=1)
    return max(2, (start - START.date()).days), start


def run_deployment(name: str, parameters: dict[str, Any], progress: Callable[[str], None]) -> tuple[UUID, str]:
    """Run a deployment to its end, showing its log lines.

    Returns:
        The id of the run and its address in the UI.

    Raises:
        TerminalError: the deployment is missing, or the run did not complete.
    """
    with _client() as client:
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound as error:
            raise TerminalError(f"Prefect has no deployment {name}: run `fraudflow up`") from error
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        url = f"{get_settings().prefect_pages}/runs/flow-run/{run.id}"
        progress(f"{name}, run {run.name}: {url}")
        _follow(client, run.id, progress)
        state = client.read_flow_run(run.id).state
        if state is None or not state.is_completed():
            told = f"{state.name}: {state.message}" if state else "unknown"
            raise TerminalError(f"the run of {name} ended as {told}\nIts log: {url}")
    return run.id, url


@contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    url = get_settings().prefect_api_url
    if not url:
        raise TerminalError(
            "no Prefect: start the local stack with `fraudflow up`, for a stack on AWS with `fraudflow up --only "
            "worker`, or name yours in FRAUDFLOW_PREFECT_API_URL"
        )
    try:
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            yield client
    except httpx.TransportError as error:
        raise TransientError(f"Prefect at {url} does not answer: {error or type(error).__name__}. {_LOOK}") from error
    except httpx.HTTPStatusError as error:
        response = error.response
        said = f"Prefect at {url} answers {response.status_code}: {response.text[:500]}"
        if _passes(error):
            raise TransientError(f"{said}. {_LOOK}") from error
        login = "Its login is in PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
        raise TerminalError(f"{said}. {login if response.status_code in _UNKNOWN_TO_IT else _LOOK}") from error


def _passes(error: httpx.HTTPError) -> bool:
    """Whether the same question may be answered in a moment."""
    return not isinstance(error, httpx.HTTPStatusError) or passes(error.response.status_code)


def _follow(client: SyncPrefectClient, run_id: UUID, progress: Callable[[str], None]) -> None:
    """Tell what a run and its subflows log, and how long each subflow took, until the run ends."""
    since = datetime.min.replace(tzinfo=UTC)
    seen: set[UUID] = set()
    ended: set[UUID] = set()
    deadline, all_told, asked = math.inf, False, time.monotonic()
    told_of_worker = False
    while True:
        try:
            state = client.read_flow_run(run_id).state
            children = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id])),
                sort=FlowRunSort.START_TIME_ASC,
            )
            names = {child.id: client.read_flow(child.flow_id).name for child in children}
            logs = list(_logs(client, [run_id, *names], since))
        except httpx.HTTPError as error:
            if not _passes(error):
                raise
            progress(f"Prefect does not answer, trying again: {error}")
            time.sleep(POLL_SECONDS)
            continue
        for log in logs:
            if log.id not in seen:
                seen.add(log.id)
                all_told = all_told or _is_last(log, run_id)
                if not log.message.startswith(_ROUTINE):
                    progress(f"  {names.get(log.flow_run_id, ''):<18} {_brief(log.message)}")  # type: ignore[arg-type]
        for child in children:
            if child.state and child.state.is_final() and child.id not in ended:
                ended.add(child.id)
                progress(f"  {names[child.id]:<18} {child.state.name} in {child.total_run_time.total_seconds():.1f} s")
        # Logs arrive late and out of order: look back a little further than the newest.
        if logs:
            since = max(since, *(log.timestamp for log in logs)) - _LOG_DELAY
        if state and state.name in _UNTAKEN and not told_of_worker and time.monotonic() > asked + _WORKER_SECONDS:
            told_of_worker = True
            progress(f"  no worker has taken this run yet. {_LOOK}")
        if state is not None and state.is_final():
            # It is final before its last lines are there: they are sent in batches. One that died has no last line.
            deadline = min(deadline, time.monotonic() + _LAST_LINES_SECONDS)
            if all_told or time.monotonic() > deadline:
                return
        time.sleep(POLL_SECONDS)


def _logs(client: SyncPrefectClient, runs: list[UUID], since: datetime) -> Iterator[Log]:
    """What these runs logged after that moment, in the order of their clocks."""
    chosen = LogFilter(
        flow_run_id=LogFilterFlowRunId(any_=runs),
        timestamp=LogFilterTimestamp(after_=since),  # type: ignore[arg-type] - a datetime is one
    )
    for offset in itertools.count(0, _PAGE):
        page = client.read_logs(chosen, sort=LogSort.TIMESTAMP_ASC, limit=_PAGE, offset=offset)
        yield from page
        if len(page) < _PAGE:
            return


def _is_last(log: Log, run_id: UUID) -> bool:
    """Whether nothing comes after it: what a run's process logs arrives in the order in which it was logged."""
    return log.flow_run_id == run_id and log.task_run_id is None and log.message.startswith(_LAST)


_LAST = "Finished in state "
# What Prefect logs of every run: how it is started and how it ended, which is told with its time anyway.
_ROUTINE = (
    "All deployment steps completed",
    "Beginning ",
    "Deployment step ",
    "Encountered exception during execution",
    "Engine execution exited",
    "Executing deployment step",
    _LAST,
    "Flow run ",
    "Running 1 deployment pull step",
    "Worker ",
)


def _brief(message: str) -> str:
    """A log message without the traceback that it may hold: what happened is in its first and last line."""
    lines = message.strip().splitlines()
    return f"{lines[0]} {lines[-1]}" if "Traceback" in message else message
