"""What the dashboard knows, for Prometheus. dashboard/grafana.json draws it."""

import functools
import logging
from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.core import GaugeMetricFamily

from dashboard import tally
from dashboard.queries import Filters
from dashboard.services import Services

logger = logging.getLogger(__name__)


class Collector:
    """Reads the shared state at each scrape."""

    def __init__(self, shared: Services):
        self._shared = shared

    def collect(self) -> Iterator[Metric]:
        """The metrics of now."""
        up = GaugeMetricFamily("fraudflow_system_up", "1 if the system answers the dashboard", labels=["system"])
        kafka = self._shared.stream.watched.state
        for state in (self._shared.cluster.watched.state, kafka):
            up.add_metric([state.name.lower()], float(state.up))
        yield up
        # What is old is left out: to Prometheus every number that is served is one of now.
        if kafka.up and self._shared.stream.samples:
            last = self._shared.stream.samples[-1]
            for name, text, value in (
                ("predictions_per_second", "Rate of the Predictions topic", last.per_second),
                ("scoring_lag_transactions", "Transactions that are not scored yet", last.lag),
                ("scoring_latency_p50_seconds", "Of the newest predictions", _seconds(last.p50_ms)),
                ("scoring_latency_p99_seconds", "Of the newest predictions", _seconds(last.p99_ms)),
                ("newest_prediction_timestamp_seconds", "When it reached Kafka", _timestamp(last.newest)),
            ):
                if value is not None:
                    yield GaugeMetricFamily(f"fraudflow_{name}", text, value=value)
        bands = self._shared.whole.count(Filters(), "band")
        if bands.error:
            return
        for part, text, (number, amount) in (
            ("", "The newest predictions, counted from Kafka", tally.total(bands.frame)),
            (
                "suspected_",
                "Predictions at or above the alert threshold, to a hundredth",
                tally.above(bands.frame, self._shared.threshold.alert),
            ),
        ):
            if number is not None and amount is not None:
                yield GaugeMetricFamily(f"fraudflow_projected_{part}transactions", text, value=number)
                yield GaugeMetricFamily(f"fraudflow_projected_{part}amount", f"{text}: their amount", value=amount)


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


@functools.cache
def serve(shared: Services) -> None:
    """Answer scrapes, once for the process, if the settings name a port."""
    settings = shared.settings.dashboard
    if settings.metrics_port is None:
        return
    registry = CollectorRegistry()
    registry.register(Collector(shared))
    try:
        start_http_server(settings.metrics_port, settings.address, registry)
    except OSError as error:
        logger.error("no metrics: port %s cannot be used: %s", settings.metrics_port, error)
