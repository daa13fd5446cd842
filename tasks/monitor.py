"""The steps of watching: measuring, telling what is new, and starting a training."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound
from prefect.variables import Variable

from infra.dead_letters import open_letters
from infra.errors import TerminalError
from infra.group_reader import GroupReader
from infra.model_store import ModelStore
from infra.settings import get_settings
from monitoring.checks import DRIFT, QUALITY, Operations, drift_of, facts, findings_of, quality_of
from monitoring.incidents import Change, Finding, follow
from monitoring.window import empty_window, gather
from scoring.features import Features
from scoring.model import unpack_model
from tasks.features import loaded_tables
from tasks.retry import transient_only
from training.labels import read_labels
from training.rollout import champion_of

# Prefect's database: it is where the alerts are, and what forgets one forgets the other.
STATE = "fraudflow_monitor"
BEGAN, ENDED = "fraudflow.incident.began", "fraudflow.incident.ended"


@task(retries=2, retry_delay_seconds=10, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def measure() -> dict[str, Any]:
    """Look at what flows.

    Returns:
        `findings`, the `facts` for people, `drift` by input, the `model` and the `report`, a file.

    Raises:
        TransientError: Kafka or Hazelcast is away.
    """
    settings = get_settings()
    now = datetime.now(UTC)
    model = unpack_model(champion_of(ModelStore(settings.kafka), settings)).manifest
    kafka = settings.kafka
    loaded = loaded_tables()
    window = empty_window(model.names)
    if loaded:
        features = Features(loaded[1])
        window = gather(kafka, features, model, read_labels(kafka), settings.monitor, settings.training)
    since = now - timedelta(days=settings.monitor.window_days)
    group = GroupReader(kafka, settings.scoring.group_id, kafka.topics.transactions)
    try:
        lag = group.lag()
    finally:
        group.close()
    dead = sum(letter.at >= since for letter in open_letters(kafka))
    # A load of unchanged files writes nothing, and says no less that the features are fresh.
    fresh = max(filter(None, (datetime.fromisoformat(loaded[0].loaded_at), _last_load()))) if loaded else None
    operations = Operations(lag, dead, window.predictions, fresh, now)
    drift = drift_of(window, model, settings.scoring.threshold())
    quality = quality_of(window, model, settings.scoring.threshold())
    findings = findings_of(drift, quality, operations, settings.monitor)
    report = "none, for fraudflow's extra `monitor` is not installed"
    if find_spec("plotly"):
        from monitoring.report import write_report

        directory, name = settings.local.home.expanduser().resolve() / "monitor", f"{now:%Y-%m-%dT%H%M%SZ}"
        report = write_report(directory, name, model, window, drift, quality, operations, findings)
    get_run_logger().info("%s findings in %s predictions; report: %s", len(findings), f"{len(window):,}", report)
    return {
        "findings": [asdict(finding) for finding in findings],
        "facts": facts(drift, quality, operations),
        "drift": drift.index,
        "model": model.version,
        "report": str(report),
    }


@task(cache_policy=NO_CACHE)
def tell(measured: dict[str, Any]) -> dict[str, list[str]]:
    """Tell of incidents that began or ended, each once: an event, and an artifact for those that began.

    Returns:
        Keys of the incidents that `began`, `last` and `ended`.
    """
    state = _state()
    findings = [Finding(**finding) for finding in measured["findings"]]
    change = follow(state.get("incidents", {}), findings, datetime.now(UTC).isoformat(timespec="seconds"))
    for finding in change.begun:
        get_run_logger().warning("incident: %s", finding.text)
        _event(BEGAN, finding.key, {"kind": finding.kind, "text": finding.text, "model": measured["model"]})
    for key in change.ended:
        get_run_logger().info("incident over: %s", key)
        _event(ENDED, key, {"model": measured["model"]})
    if change.begun:
        create_markdown_artifact(_alert(change, measured), key="monitor-alert")
    # Only now: a run that dies in between makes the next one tell it again, and not never.
    Variable.set(STATE, state | {"incidents": change.state}, overwrite=True)
    return {
        "began": [finding.key for finding in change.begun],
        "last": [finding.key for finding in change.lasting],
        "ended": change.ended,
    }


@task(cache_policy=NO_CACHE)
def train_again(findings: list[dict[str, Any]], wanted: bool) -> str | None:
    """Start a training, where that is wanted, called for, and not done a short time ago. The id of its run.

    Raises:
        TerminalError: Prefect does not know the deployment that is to be started.
    """
    settings, state = get_settings().monitor, _state()
    if not wanted or not any(finding["kind"] in {DRIFT, QUALITY} for finding in findings):
        return None
    now, last = datetime.now(UTC), state.get("trained_at")
    if last and now - datetime.fromisoformat(last) < timedelta(hours=settings.retrain_cooldown_hours):
        get_run_logger().info("a training was started at %s: not again so soon", last)
        return None
    try:
        run = run_deployment(settings.retrain_deployment, timeout=0, as_subflow=False)
    except ObjectNotFound as error:
        raise TerminalError(
            f"there is something to learn, but this Prefect has no deployment {settings.retrain_deployment}: register "
            "it where training is installed (`fraudflow up`), or name yours in FRAUDFLOW_MONITOR__RETRAIN_DEPLOYMENT"
        ) from error
    Variable.set(STATE, state | {"trained_at": now.isoformat()}, overwrite=True)
    get_run_logger().info("training started: %s", run.name)  # type: ignore[union-attr] - synchronous here
    return str(run.id)  # type: ignore[union-attr]


def _last_load() -> datetime | None:
    """When `load-features` last completed; None if Prefect knows of no such run."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["load-features"])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED]))
            ),
            sort=FlowRunSort.END_TIME_DESC,
            limit=1,
        )
    return runs[0].end_time if runs else None


def _state() -> dict[str, Any]:
    found = Variable.get(STATE)
    return found if isinstance(found, dict) else {}


def _event(name: str, key: str, payload: dict[str, Any]) -> None:
    emit_event(
        name, {"prefect.resource.id": f"fraudflow.incident.{key}", "prefect.resource.name": key}, payload=payload
    )


def _alert(change: Change, measured: dict[str, Any]) -> str:
    new = "\n".join(f"- **{finding.text}**" for finding in change.begun)
    old = "\n".join(f"- {finding.text}" for finding in change.lasting)
    return f"""## New since the last look

{new}
{f"{chr(10)}Still there:{chr(10)}{chr(10)}{old}{chr(10)}" if old else ""}
Model {measured["model"]}; the report: `{measured["report"]}`
"""
