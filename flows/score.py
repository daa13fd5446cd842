"""The long-running deployment: scorer processes, supervised, until cancelled or, if asked, until all is scored."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled

from infra.errors import TerminalError, TransientError
from infra.group_reader import GroupReader
from infra.kafka import ensure_topics
from infra.s3 import is_s3
from infra.settings import Settings, get_settings
from scoring.loop import SCORING
from scoring.projection_watch import ProjectionWatch
from scoring.supervisor import Supervisor, Totals
from tasks.score import LiveArtifact, StateFence, refuse_idle_model

TICK_SECONDS = 0.5
LAG_SECONDS = 2.0
# Prefect kills 30 s after a cancellation, of which the scorers may take 20.
PROJECTION_STOP_SECONDS = 5.0


@flow(name="score")
def score(
    processes: int = 0,
    until_drained: bool = False,
    model: str | None = None,
) -> dict[str, Any]:
    """Score every transaction of the input topic, exactly once.

    Has no Prefect tasks and no retries: a crash is answered by the automation that starts this deployment again,
    and one run may be weeks long.

    Args:
        processes: scorer processes; 0 takes the setting, which by default is one per core.
        until_drained: end when every transaction that has arrived is scored; otherwise run until cancelled.
        model: path of an ONNX model, or s3://bucket/key; left out, the champion, the setting's or the project's own.
    """
    # A flow that calls this one: the deployment's scorers may be at work, and two in one place would fence each other.
    inline = bool(flow_run.parent_flow_run_id)
    try:
        return _score(processes, until_drained, model, inline)
    except TerminalError as error:
        if inline:
            raise
        # Not Failed: that is answered by another start, which would end the same way, for ever.
        return Cancelled(message=str(error))  # type: ignore[return-value] - a state that a flow returns is its own


def _score(processes: int, until_drained: bool, model: str | None, inline: bool) -> dict[str, Any]:
    settings = get_settings()
    count = processes or settings.scoring.processes or os.cpu_count() or 1
    environment = {"FRAUDFLOW_SCORING__MODEL": model if is_s3(model) else str(Path(model).resolve())} if model else {}
    logs, place = settings.local.home / "logs", ""
    if inline:
        logs, place = logs / "inline", f"{flow_run.id}-"
        environment["FRAUDFLOW_SCORING__HEALTH_PORT"] = "0"
    ensure_topics(settings.kafka)
    refuse_idle_model(settings, model)
    supervisor = Supervisor(count, logs, environment, place)
    watch = _Watch(settings, supervisor, until_drained)
    fence = StateFence(flow_run.id)
    fence.start()
    live = LiveArtifact("scoring", watch.markdown)
    projection = ProjectionWatch(settings, get_run_logger())
    projection.start()
    try:
        watch.run(fence)
    finally:
        # However it ends - drained, cancelled, SIGTERM, an error - the scorers commit and leave first.
        watch.close(supervisor.drain())
        projection.stop(PROJECTION_STOP_SECONDS)
        fence.close()
        live.close()
    if fence.ended:
        # Where Prefect's own word has not come through, as after a restart of its server, we end by ourselves: and the
        # server lets a run that is being cancelled become Cancelled, and nothing else.
        return Cancelled(message=f"{fence.ended} in the API")  # type: ignore[return-value] - as above
    return watch.result()


@dataclass
class _View:
    """What was last seen, for the artifact."""

    totals: Totals
    lag: int = 0
    rate: float = 0.0


class _Watch:
    """Keeps the supervisor going and looks around it."""

    def __init__(self, settings: Settings, supervisor: Supervisor, until_drained: bool):
        self._supervisor, self._until_drained = supervisor, until_drained
        self._group = GroupReader(settings.kafka, settings.scoring.group_id, settings.kafka.topics.transactions)
        self._logger = get_run_logger()
        self._parent = os.getppid()
        self._view = _View(Totals())
        self._next_lag = 0.0
        self._rate_from = (time.monotonic(), 0)

    def run(self, fence: StateFence) -> None:
        while True:
            before = self._view.totals
            self._view.totals = totals = self._supervisor.tick()
            now = time.monotonic()
            if totals.restarts > before.restarts:
                self._logger.warning("a scorer died and is being restarted (%d so far)", totals.restarts)
            if totals.state != before.state:
                self._logger.info("scorers: %s", totals.state)
            if os.getppid() != self._parent:
                # Failed, so that it is started again when there is a worker.
                raise TransientError("the worker of this run is gone: the scorers were drained")
            if fence.ended:
                self._logger.warning("the run is %s in the API: draining", fence.ended)
                return
            if now >= self._next_lag:
                self._next_lag = now + LAG_SECONDS
                if self._look_at_lag(now):
                    self._logger.info("every transaction is scored")
                    return
            time.sleep(TICK_SECONDS)

    def _look_at_lag(self, now: float) -> bool:
        """Refresh lag and rate; True when the run is to end and the scorers have committed everything there is."""
        since, count = self._rate_from
        self._view.rate = (self._view.totals.transactions - count) / (now - since)
        self._rate_from = (now, self._view.totals.transactions)
        try:
            self._view.lag = self._group.lag()
            if not self._until_drained or self._view.rate or SCORING not in self._view.totals.state:
                return False
            return self._group.drained()
        except TransientError as error:
            self._logger.warning("%s", error)
            return False

    def close(self, totals: Totals) -> None:
        self._view.totals = totals
        self._view.rate = 0.0
        self._group.close()
        self._logger.info(
            "drained: %d transactions, %d predictions, %d dead letters, %d alerts",
            totals.transactions,
            totals.predictions,
            totals.dead_letters,
            totals.alerts,
        )

    def result(self) -> dict[str, Any]:
        totals = self._view.totals
        return {
            "transactions": totals.transactions,
            "predictions": totals.predictions,
            "dead_letters": totals.dead_letters,
            "alerts": totals.alerts,
            "known_fraud": totals.known_fraud,
            "known_fraud_found": totals.known_fraud_found,
            "restarts": totals.restarts,
            "seconds": round(totals.seconds, 3),
            "transactions_per_second": round(totals.transactions / totals.seconds, 1) if totals.seconds else 0.0,
            "latency_ms": {"p50": totals.latency.quantile_ms(0.5), "p99": totals.latency.quantile_ms(0.99)},
            "inference_us": round(totals.inference_ns / 1000 / max(totals.predictions, 1), 3),
        }

    def markdown(self) -> str:
        totals, view = self._view.totals, self._view
        p50, p99 = totals.latency.quantile_ms(0.5), totals.latency.quantile_ms(0.99)
        return f"""## Scoring: {totals.state}

| | |
|---|---|
| scorer processes | {totals.running}, {totals.restarts} restarts |
| lag | {view.lag:,} |
| rate | {view.rate:,.0f} transactions/s |
| transactions | {totals.transactions:,} |
| predictions | {totals.predictions:,} |
| dead letters | {totals.dead_letters:,} |
| alerts | {totals.alerts:,} |
| known fraud found | {totals.known_fraud_found:,} of {totals.known_fraud:,} |
| taken from Kafka to committed | p50 {p50 or "-"} ms, p99 {p99 or "-"} ms |
| aborted batches | {totals.aborts:,} |
| health and metrics | {" ".join(f"{url}/health {url}/metrics" for url in totals.urls)} |
"""
