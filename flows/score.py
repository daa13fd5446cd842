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
from infra.kafka import GroupReader, ensure_topics
from infra.projection import ensure_projection
from infra.s3 import is_s3
from infra.settings import Settings, get_settings
from scoring.supervisor import Supervisor, Totals
from tasks.score import LiveArtifact, StateFence

TICK_SECONDS = 0.5
LAG_SECONDS = 2.0
PROJECTION_SECONDS = 10.0


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
        model: path of an ONNX model, or s3://bucket/key; left out, the setting's or the project's own.
    """
    settings = get_settings()
    count = processes or settings.scoring.processes or os.cpu_count() or 1
    environment = {"FRAUDFLOW_SCORING__MODEL": model if is_s3(model) else str(Path(model).resolve())} if model else {}
    ensure_topics(settings.kafka)
    supervisor = Supervisor(count, settings.local.home / "logs", environment)
    watch = _Watch(settings, supervisor, until_drained)
    fence = StateFence(flow_run.id)
    fence.start()
    live = LiveArtifact("scoring", watch.markdown)
    try:
        watch.run(fence)
    except TerminalError as error:
        if flow_run.parent_flow_run_id:
            raise
        # Not Failed: that is answered by another start, which would end the same way, for ever.
        return Cancelled(message=str(error))  # type: ignore[return-value] - a state that a flow returns is its own
    finally:
        # However it ends - drained, cancelled, SIGTERM, an error - the scorers commit and leave first.
        watch.close(supervisor.drain())
        fence.close()
        live.close()
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
        self._settings, self._supervisor, self._until_drained = settings, supervisor, until_drained
        self._group = GroupReader(settings.kafka, settings.scoring.group_id, settings.kafka.topics.transactions)
        self._logger = get_run_logger()
        self._parent = os.getppid()
        self._view = _View(Totals())
        self._first_at: float | None = None
        self._last_at = self._started = time.monotonic()
        self._next_lag = self._next_projection = 0.0
        self._rate_from = (self._started, 0)

    def run(self, fence: StateFence) -> None:
        while True:
            before = self._view.totals
            self._view.totals = totals = self._supervisor.tick()
            now = time.monotonic()
            if totals.transactions > before.transactions:
                self._first_at = self._first_at or now
                self._last_at = now
            if totals.restarts > before.restarts:
                self._logger.warning("a scorer died and is being restarted (%d so far)", totals.restarts)
            if totals.state != before.state:
                self._logger.info("scorers: %s", totals.state)
            if os.getppid() != self._parent:
                self._logger.warning("the worker of this run is gone: draining")
                return
            if fence.ended:
                self._logger.warning("the run is %s in the API: draining", fence.ended)
                return
            if now >= self._next_projection:
                self._next_projection = now + PROJECTION_SECONDS
                self._keep_projection()
            if now >= self._next_lag:
                self._next_lag = now + LAG_SECONDS
                if self._look_at_lag(now) and self._until_drained:
                    self._logger.info("every transaction is scored")
                    return
            time.sleep(TICK_SECONDS)

    def _look_at_lag(self, now: float) -> bool:
        """Refresh lag and rate; True when the scorers have committed everything there is."""
        since, count = self._rate_from
        self._view.rate = (self._view.totals.transactions - count) / (now - since)
        self._rate_from = (now, self._view.totals.transactions)
        try:
            self._view.lag = self._group.lag()
            if self._view.rate or self._view.lag > _MARKERS or "scoring" not in self._view.totals.state:
                return False
            return self._group.drained()
        except TransientError as error:
            self._logger.warning("%s", error)
            return False

    def _keep_projection(self) -> None:
        """Jobs and mappings die with the last Hazelcast member: make them again, and never stop scoring for it."""
        try:
            created = ensure_projection(self._settings, connect_seconds=2)
        except TransientError as error:
            self._logger.warning("no projection for now: %s", error)
        else:
            if created:
                self._logger.info("projection: created %s", ", ".join(created))

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
        seconds = max(self._last_at - (self._first_at or self._last_at), TICK_SECONDS)
        return {
            "transactions": totals.transactions,
            "predictions": totals.predictions,
            "dead_letters": totals.dead_letters,
            "alerts": totals.alerts,
            "known_fraud": totals.known_fraud,
            "known_fraud_found": totals.known_fraud_found,
            "restarts": totals.restarts,
            "seconds": round(seconds, 3),
            "transactions_per_second": round(totals.transactions / seconds, 1),
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


# Transaction markers that a drained group can stay behind, generously: more lag than that is records.
_MARKERS = 10_000
