"""What a scorer says of itself over HTTP: `/health` for those who restart it, `/metrics` for Prometheus.

Asked from threads of their own, so that a scorer that is stuck still answers, and says so.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from infra.errors import FraudflowError, TerminalError
from infra.group_reader import GroupReader
from infra.settings import ScoringSettings, Settings
from scoring.loop import ScoringLoop
from scoring.metrics import Counters
from scoring.scorer import Scorer

logger = logging.getLogger(__name__)

# A batch with its commit takes well below a second, an idle look at Kafka 0.2 s.
STUCK_SECONDS = 5.0
# How often the broker is asked.
ASK_SECONDS = 2.0
_PREFIX = "fraudflow_scorer_"


class Health:
    """What is known of a scorer, kept fresh by a thread."""

    def __init__(self, settings: Settings, state: Callable[[], str]):
        """`state` says what a scorer without features waits for."""
        self._settings, self._state = settings, state
        self.scoring: tuple[ScoringLoop, Scorer] | None = None
        self.ended = ""
        """Why the loop has ended for good, where the process lives on to say so."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="health", daemon=True)
        self._lag: int | None = None
        self._answered_at = time.monotonic()
        self._error = ""

    def watch(self, loop: ScoringLoop, scorer: Scorer) -> None:
        """From now on, ask this loop."""
        self.scoring = loop, scorer
        self._answered_at = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End the thread at its next look."""
        self._stop.set()

    def _ask(self) -> None:
        assert self.scoring is not None  # noqa: S101
        loop, _ = self.scoring
        kafka, reader = self._settings.kafka, None
        while not self._stop.wait(ASK_SECONDS):
            try:
                # With a client of its own: a call of the scorer's would keep its batches waiting.
                reader = reader or GroupReader(kafka, self._settings.scoring.group_id, kafka.topics.transactions)
                self._lag = reader.lag(loop.partitions)
                self._answered_at, self._error = time.monotonic(), ""
            except FraudflowError as error:
                self._error = f": {error}"
        if reader is not None:
            reader.close()

    def report(self) -> dict[str, Any]:
        """The body of `/health`: `ok` is whether all goes as it should, and `state` is what it does or why not."""
        if self.scoring is None:
            return {"ok": False, "state": self._state()}
        loop, scorer = self.scoring
        still, silent = time.monotonic() - loop.moved_at, time.monotonic() - self._answered_at
        trouble = None
        if self.ended:
            trouble = self.ended
        elif still > STUCK_SECONDS:
            trouble = f"no step ended well for {still:.0f} s"
        elif silent > STUCK_SECONDS:  # and not only after an error: the question itself can hang
            trouble = f"Kafka does not answer for {silent:.0f} s{self._error}"
        return {
            "ok": trouble is None,
            "state": trouble or loop.state,
            "lag": self._lag,
            "transactions": loop.counters.transactions,
            "dead_letters": loop.counters.dead_letters,
            "model": scorer.model_version,
            "challenger": scorer.challenger and scorer.challenger.report(),
            "features": scorer.features.version,
        }


class _ScorerCollector(Collector):
    """Turns the counters into Prometheus metrics when it is asked."""

    def __init__(self, health: Health):
        self._health = health

    def collect(self) -> Iterator[Any]:
        report = self._health.report()
        yield GaugeMetricFamily(_PREFIX + "healthy", "1: scores, or reads histories back", value=report["ok"])
        if self._health.scoring is None:
            return
        loop, scorer = self._health.scoring
        counters: Counters = loop.counters
        if report["lag"] is not None:
            yield GaugeMetricFamily(_PREFIX + "lag", "Offsets not yet committed", value=report["lag"])
        for name, text in _COUNTS.items():
            yield CounterMetricFamily(_PREFIX + name, text, value=getattr(counters, name))
        yield CounterMetricFamily(_PREFIX + "inference_seconds", "Time in the model", value=counters.inference_ns / 1e9)
        reasons = CounterMetricFamily(_PREFIX + "dead_letters", "Dead letters, by reason", labels=["reason"])
        for reason, count in counters.reasons.items():
            reasons.add_metric([reason], count)
        yield reasons
        for name, text in _CHALLENGER_COUNTS.items():
            value = report["challenger"][name] if report["challenger"] else 0
            yield GaugeMetricFamily(f"{_PREFIX}challenger_{name}", text, value=value)
        buckets, total = counters.latency.cumulative()
        yield HistogramMetricFamily(
            _PREFIX + "latency_seconds", "From taken to committed, per transaction", buckets=buckets, sum_value=total
        )
        versions = {"model": scorer.model_version, "features": scorer.features.version}
        yield InfoMetricFamily(_PREFIX + "versions", "What it scores with", value=versions)


_CHALLENGER_COUNTS = {
    "transactions": "Transactions that the model on trial scored, 0 without one",
    "alerts": "At or above its threshold",
    "errors": "Batches in which it failed",
}
_COUNTS = {
    "transactions": "Transactions committed",
    "predictions": "Predictions committed",
    "alerts": "Predictions at or above the alert threshold",
    "batches": "Batches committed; transactions by batches is the batch size",
    "aborts": "Batches that were not committed and were taken again",
}


class HealthServer:
    """Serves `/health` and `/metrics`."""

    def __init__(self, settings: ScoringSettings, slot: str, health: Health):
        """Listen; numbered slots have ports in a row.

        Raises:
            TerminalError: the port is taken.
        """
        port = settings.health_port and settings.health_port + (int(slot) if slot.isdecimal() else 0)
        registry = CollectorRegistry()
        registry.register(_ScorerCollector(health))

        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # or a connection that asks nothing holds a thread for ever

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif self.path == "/health":
                    report = health.report()
                    self._answer(200 if report["ok"] else 503, "application/json", json.dumps(report).encode())
                else:
                    self._answer(404, "text/plain", b"/health or /metrics\n")

            def _answer(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
                """Nothing: it is asked every few seconds."""

        try:
            self._server = ThreadingHTTPServer((settings.health_address, port), Handler)
        except OSError as error:
            raise TerminalError(
                f"cannot listen on {settings.health_address}:{port} for /health: {error.strerror}. Choose another "
                "FRAUDFLOW_SCORING__HEALTH_PORT, or 0 for any free one"
            ) from error
        self.url = f"http://{settings.health_address}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, name="health-http", daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
