"""Live: how much flows, how much of it is suspicious, and the alerts as they come."""

from datetime import UTC, datetime

import plotly.graph_objects as go
import polars as pl
import streamlit as st

from dashboard import charts, frame, queries, show, tally
from dashboard.queries import Filters
from dashboard.services import Services, services
from dashboard.stream import Alert, Sample

_SHOWN_ALERTS = 60


def page() -> None:
    """Draw it."""
    shared = services()
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        st.title("Live")
    with right:
        frame.systems()
    frame.wait_for_counts()
    threshold = st.slider(
        "Suspected from this score on",
        queries.LOWEST, 1.0, shared.threshold.start, 0.01,
        key="threshold", bind="query-params",
        help=f"Moves what counts as suspected on this page. Scorers alert from {shared.threshold.alert:g} on.",
    )  # fmt: skip
    _now(shared, threshold)


# One part that draws itself anew: each would be a run of its own, with messages of its own.
@st.fragment(run_every=frame.REFRESH)
def _now(shared: Services, threshold: float) -> None:
    _totals(shared, threshold)
    _flow(shared)
    _alerts(shared)


def _totals(shared: Services, threshold: float) -> None:
    currency = shared.settings.dashboard.currency
    bands = shared.whole.count(Filters(), "band")
    all_of, suspected = tally.total(bands.frame), tally.above(bands.frame, threshold)
    boxes = st.columns(5)
    boxes[0].metric("Transactions", show.count(all_of[0]), border=True)
    boxes[1].metric("Amount", show.money(all_of[1], currency), border=True)
    boxes[2].metric("Suspected fraud", show.count(suspected[0]), border=True, help="At or above the threshold")
    boxes[3].metric("Suspected amount", show.money(suspected[1], currency), border=True)
    boxes[4].metric("Suspected share", show.share(suspected[0], all_of[0]), border=True, help="Of the transactions")
    frame.freshness([bands], shared.settings.dashboard.time_zone)
    frame.extent(shared.whole)


def _flow(shared: Services) -> None:
    samples = list(shared.stream.samples)
    last = samples[-1] if samples else None
    recent = samples[-60:]
    boxes = st.columns(4)
    boxes[0].metric(
        "Predictions a second", show.count(last.per_second) if last else show.DASH, border=True,
        chart_data=[s.per_second for s in recent] or None, chart_type="area",
    )  # fmt: skip
    boxes[1].metric(
        "Waiting to be scored", show.count(last.lag) if last else show.DASH, border=True,
        chart_data=[s.lag for s in recent] or None, chart_type="area", help="The scorers' lag, in transactions",
    )  # fmt: skip
    boxes[2].metric(
        "Latency p99", show.milliseconds(last.p99_ms) if last else show.DASH, border=True,
        chart_data=[s.p99_ms for s in recent if s.p99_ms is not None] or None, chart_type="area",
        help=f"In the scorer, of the newest predictions; p50 {show.milliseconds(last.p50_ms) if last else show.DASH}",
    )  # fmt: skip
    age = (datetime.now(UTC) - last.newest).total_seconds() if last and last.newest else None
    boxes[3].metric(
        "Newest prediction", f"{show.duration(age)} ago" if age is not None else show.DASH, border=True,
        chart_data=[(s.at - s.newest).total_seconds() for s in recent if s.newest] or None, chart_type="area",
        help="When it reached Kafka",
    )  # fmt: skip


def _alerts(shared: Services) -> None:
    settings = shared.settings.dashboard
    newest = shared.stream.alerts()[:_SHOWN_ALERTS]
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.subheader("Newest alerts")
        if newest:
            st.dataframe(alert_table(newest, settings.time_zone, settings.currency), hide_index=True, height=420,
                         column_config=ALERT_COLUMNS, key="alerts", alt="The newest alerts")  # fmt: skip
        else:
            st.info("No alerts yet. They appear here as the scorers find them.", icon=":material/notifications_off:")
    with right:
        st.subheader("The last minutes")
        samples = list(shared.stream.samples)
        if len(samples) > 1:
            st.plotly_chart(_flow_chart(samples[-1].at, settings.time_zone, samples), key="flow", config=charts.CONFIG,
                            alt="Predictions a second and transactions waiting, over the last minutes")  # fmt: skip
        else:
            st.caption("Watching Kafka …")


@st.cache_resource(max_entries=1, show_spinner=False)
def _flow_chart(at: datetime, zone: str, _samples: list[Sample]) -> go.Figure:
    """One for all who look: to make it takes longer than all else on the page."""
    return charts.flow(_samples, zone)


ALERT_COLUMNS = {
    "Score": frame.SCORE_COLUMN,
    "Case": frame.CASE_COLUMN,
    "Merchant": st.column_config.TextColumn(width="medium"),
}


def alert_table(alerts: list[Alert], zone: str, currency: str) -> pl.DataFrame:
    """Alerts as rows for people; a row's link opens its case."""
    return pl.DataFrame(
        [
            {
                "Arrived": show.clock(datetime.fromtimestamp(alert.arrived_ms / 1000, UTC), zone),
                "Score": alert.fraud_probability or 0.0,
                "Amount": show.money(alert.amount, currency),
                "Merchant": show.masked(alert.merchant or show.DASH),
                "Customer": show.masked(alert.customer_name or show.DASH),
                "City": alert.customer_city or show.DASH,
                "Card": show.card(alert.card_last4),
                "From home": show.kilometres(alert.distance_from_home),
                "Case": frame.case_link(alert.transaction_number),
            }
            for alert in alerts
        ]
    )
