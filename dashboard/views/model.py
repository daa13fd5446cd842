"""Model: how good the scores were, by what turned out to be true."""

from datetime import UTC, datetime

import polars as pl
import streamlit as st

from dashboard import charts, frame, quality, queries, show
from dashboard.services import Services, services

# The limits that are usual for the index: 0.1 and 0.25.
_DRIFT = ((0.1, "Stable"), (0.25, "▲ Moving"), (float("inf"), "▲▲ Another population"))
_DATA, _VERDICTS = "The transactions' own truth", "Verdicts of people"


def page() -> None:
    """Draw it."""
    shared = services()
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        st.title("Model")
    with right:
        frame.systems()
    frame.wait_for_counts()
    left, right = st.columns([2, 3], gap="medium", vertical_alignment="bottom")
    with left:
        source = st.segmented_control("Truth from", [_DATA, _VERDICTS], default=_DATA, key="truth",
                                      bind="query-params", required=True)  # fmt: skip
    with right:
        threshold = st.slider("Alert from this score on", queries.LOWEST, 1.0, shared.threshold.start, 0.01,
                              key="threshold", bind="query-params")  # fmt: skip
    _judge(shared, source or _DATA, threshold)


@st.fragment(run_every=frame.SLOW_REFRESH)
def _judge(shared: Services, source: str, threshold: float) -> None:
    (above,) = shared.answers.ask(queries.truth_above(shared.whole.since()), fresh_seconds=15)
    below, beside = shared.whole.unsuspected(), shared.whole.beside().frame
    known = quality.together(above.frame, below.frame)
    if source == _VERDICTS:
        labels = shared.stream.labels()
        counts, beside = quality.from_labels(labels), quality.challengers_from_labels(labels)
        if not counts.height:
            st.info(
                "No verdicts yet. Judge some cases: what people find out arrives here, and in the topic Labels, which "
                "the next model learns from.",
                icon=":material/hourglass_empty:",
            )
            _versions(known, shared.whole.beside().frame, threshold)
            return
        st.caption(
            f"{counts.height:,} verdicts, as of {show.clock(datetime.now(UTC), shared.settings.dashboard.time_zone)}. "
            "Only suspected transactions are looked at by people, so recall and calibration are those of the cases, "
            "not of all transactions."
        )
    else:
        if frame.nothing_yet(above) or frame.nothing_yet(below) or known is None:
            return
        counts = known
        frame.freshness([above, below], shared.settings.dashboard.time_zone)
        if counts["is_fraud"].null_count() == counts.height:
            st.info(
                "These transactions came without a known truth, as real ones do. Look at the verdicts of people.",
                icon=":material/hourglass_empty:",
            )
            _drift(counts)
            _versions(counts, beside, threshold)
            return
    _numbers(counts, threshold)
    left, right = st.columns(2, gap="medium")
    with left:
        period, counts = quality.periods(counts)
        st.subheader(f"Precision, recall and alerts by {period}")
        st.plotly_chart(charts.quality(quality.by(counts, threshold, "period")), key="quality", config=charts.CONFIG,
                        alt=f"Precision, recall and number of alerts by {period}")  # fmt: skip
    with right:
        st.subheader("Calibration")
        bands = quality.calibration(counts)
        if bands.height:
            st.plotly_chart(charts.calibration(bands), key="calibration", config=charts.CONFIG,
                            alt="Share that was fraud against the score")  # fmt: skip
        else:
            st.caption("Too few in every band of scores to say.")
    if known is not None:
        _drift(known)
    _versions(known if source == _DATA else counts, beside, threshold)


def _drift(counts: pl.DataFrame) -> None:
    st.subheader("Drift of the scores")
    compared = quality.drift(counts)
    if compared is None:
        st.caption("Too few days yet to compare the newest with those before.")
        return
    verdict = next(text for limit, text in _DRIFT if compared.psi < limit)
    st.markdown(
        f"**{verdict}**: the population stability index is {compared.psi:.3f}, of the scores since "
        f"{show.markdown(compared.since)} against those of the {compared.days_before} days before. "
        "Below 0.1 is taken as stable, above 0.25 as another population."
    )
    st.plotly_chart(charts.drift(compared.bands), key="drift", config=charts.CONFIG,
                    alt="Share of the transactions by score, in the newest days and before")  # fmt: skip


def _numbers(counts: pl.DataFrame, threshold: float) -> None:
    whole = quality.by(counts.with_columns(all=pl.lit("all")), threshold, "all")
    row = whole.row(0, named=True)
    boxes = st.columns(5)
    boxes[0].metric("Precision", _percent(row["precision"]), border=True, help="Of the alerts, how many were fraud")
    boxes[1].metric("Recall", _percent(row["recall"]), border=True, help="Of the fraud, how much was found")
    boxes[2].metric("Alerts", show.count(row["alerts"]), border=True)
    boxes[3].metric("Known fraud", show.count(row["fraud"]), border=True)
    boxes[4].metric("Missed", show.count(row["fraud"] - row["found"]), border=True)


def _percent(value: float | None) -> str:
    return show.DASH if value is None else f"{100 * value:.1f} %"


def _versions(counts: pl.DataFrame | None, beside: pl.DataFrame | None, threshold: float) -> None:
    st.subheader("Models side by side")
    if counts is None or not counts.height:
        st.caption("No predictions yet.")
        return
    versions = quality.of_models(counts, threshold)
    challengers = None if beside is None else quality.of_models(beside, threshold)
    rows = [(row, "decided") for row in versions.iter_rows(named=True)]
    if challengers is not None:
        rows += [(row, "challenger, beside the champion") for row in challengers.iter_rows(named=True)]
    st.dataframe(
        [
            {
                "Model": row["model_version"],
                "Its part": part,
                "Transactions": show.count(row["transactions"]),
                "Alerts": show.count(row["alerts"]),
                "Precision": _percent(row["precision"]),
                "Recall": _percent(row["recall"]),
            }
            for row, part in rows
        ],
        hide_index=True, key="versions", alt="Precision and recall by model",
    )  # fmt: skip
    if challengers is not None and challengers.height:
        names = ", ".join(
            f"{row['model_version']} on {row['transactions']:,}" for row, part in rows if part != "decided"
        )
        st.caption(f"Challengers on trial, and the transactions that they scored: {show.markdown(names)}.")
    elif versions.height < 2:
        st.caption(
            "One model has made all of these predictions. A challenger that scores beside it, or a new champion, has a "
            "row of its own here."
        )
