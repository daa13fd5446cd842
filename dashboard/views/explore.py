"""Explore: where suspected fraud gathers; every choice is in the address, so that a view can be sent to a colleague."""

from dataclasses import fields
from functools import partial

import polars as pl
import streamlit as st

from dashboard import charts, frame, queries, show, tally
from dashboard.answers import Answer
from dashboard.queries import AMOUNT_EDGES, CLOCK, DIMENSIONS, Filters
from dashboard.services import Services, services

_TOP = 15
_LABELS = DIMENSIONS | {"transaction_weekday_code": "Weekday", "transaction_hour_code": "Hour"}
_FIXED: dict[str, list] = {
    "transaction_weekday_code": list(range(7)),
    "transaction_hour_code": list(range(24)),
}


def page() -> None:
    """Draw it."""
    shared = services()
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        st.title("Explore")
    with right:
        frame.systems()
    frame.wait_for_counts()
    threshold, filters = _choices(shared)
    _ask_ahead(shared, threshold, filters)
    _headline(shared, threshold, filters)
    st.subheader("Suspected fraud by")
    dimension = st.segmented_control(
        "By", list(DIMENSIONS), default=queries.FIRST_DIMENSION, format_func=DIMENSIONS.__getitem__, key="by",
        bind="query-params", label_visibility="collapsed", required=True,
    )  # fmt: skip
    _breakdown(shared, threshold, filters, dimension or queries.FIRST_DIMENSION)
    left, right = st.columns(2, gap="medium")
    with left:
        _week(shared, threshold, filters)
    with right:
        _days(shared, threshold, filters)
    _map(shared, threshold, filters)
    _distributions(shared, threshold, filters)


def _suspected(shared: Services, filters: Filters, *dimensions: str) -> Answer:
    (answer,) = shared.answers.ask(queries.suspected(filters, *dimensions, since=shared.whole.since()))
    return answer


def _ask_ahead(shared: Services, threshold: float, filters: Filters) -> None:
    """Set the cluster to work on all that the page will ask, before the first part of it waits."""
    dimension = st.session_state.get("by") or queries.FIRST_DIMENSION
    shared.answers.ask(*queries.explored(threshold, filters, dimension, shared.whole.since()), wait_seconds=0)


def _choices(shared: Services) -> tuple[float, Filters]:
    with st.container(border=True):
        columns = st.columns(4)
        chosen = {}
        known = _known(shared)
        for at, column in enumerate(field.name for field in fields(Filters)):
            with columns[at % 4]:
                values = st.multiselect(
                    _LABELS[column], _options(column, known), key=column, bind="query-params",
                    placeholder="All", accept_new_options=column not in _FIXED,
                    format_func=show.WEEKDAYS.__getitem__ if column == "transaction_weekday_code" else _masked,
                )  # fmt: skip
                chosen[column] = tuple(values)
        left, right = st.columns([5, 1], vertical_alignment="bottom")
        with left:
            threshold = st.slider(
                "Suspected from this score on", queries.LOWEST, 1.0, shared.threshold.start, 0.01,
                key="threshold", bind="query-params",
                help=f"In hundredths. Scorers alert, and Cases counts, from {shared.threshold.alert:g} on.",
            )  # fmt: skip
        with right:
            st.button("Clear filters", icon=":material/filter_alt_off:", on_click=_clear, width="stretch")
    return threshold, Filters(**chosen)


def _masked(value: object) -> str:
    return show.masked(str(value))


def _known(shared: Services) -> dict[str, set]:
    """The values of each dimension that occur, as far as they are counted."""
    answers = {column: shared.whole.count(Filters(), column) for column in DIMENSIONS}
    return {
        column: set() if answer.frame is None else set(answer.frame[column].drop_nulls())
        for column, answer in answers.items()
    }


def _options(column: str, known: dict[str, set]) -> list:
    """The values that people can choose: those that occur, and those that are chosen."""
    if column in _FIXED:
        return _FIXED[column]
    return sorted(known[column] | set(st.session_state.get(column, ())) | set(st.query_params.get_all(column)))


def _clear() -> None:
    for field in fields(Filters):
        st.session_state[field.name] = []


@st.fragment(run_every=frame.SLOW_REFRESH)
def _headline(shared: Services, threshold: float, filters: Filters) -> None:
    # The same question as that of the amounts below: one less for the cluster.
    answer, every = _suspected(shared, filters, "amount_band"), shared.whole.count(filters)
    totals, suspected = tally.total(every.frame), tally.above(answer.frame, threshold)
    currency = shared.settings.dashboard.currency
    boxes = st.columns(4)
    boxes[0].metric("Transactions", show.count(totals[0]), border=True)
    boxes[1].metric("Amount", show.money(totals[1], currency), border=True)
    boxes[2].metric("Suspected", show.count(suspected[0]), border=True)
    boxes[3].metric("Suspected amount", show.money(suspected[1], currency), border=True)
    frame.freshness([answer, every], shared.settings.dashboard.time_zone)
    frame.extent(shared.whole)


@st.fragment(run_every=frame.SLOW_REFRESH)
def _breakdown(shared: Services, threshold: float, filters: Filters, dimension: str) -> None:
    if st.session_state.pop("picked", False):
        st.rerun()  # a bar was clicked, and all of the page has another filter
    answer = _suspected(shared, filters, dimension)
    if frame.nothing_yet(answer, "Nothing is suspected here, at any threshold."):
        return
    assert answer.frame is not None  # noqa: S101 - nothing_yet looked
    every = shared.whole.count(filters, dimension)
    ranked = tally.by(answer.frame.drop_nulls(dimension), threshold, dimension, of=every.frame)
    ranked = ranked.filter(pl.col("suspected") > 0).rename({dimension: "name"})
    top = ranked.sort("suspected_amount", "name", descending=[True, False]).head(_TOP)
    if not top.height:
        st.info("Nothing is suspected here at this threshold.", icon=":material/verified:")
        return
    key, drawn = f"ranking-{dimension}", top["name"].reverse().to_list()
    st.plotly_chart(
        charts.ranking(top, shared.settings.dashboard.currency), key=key,
        on_select=partial(_look_only_at, dimension, drawn, key), selection_mode="points", config=charts.CONFIG,
        alt=f"Suspected amount by {DIMENSIONS[dimension].lower()}, the largest first",
    )  # fmt: skip
    st.caption(
        f"Suspected amount · number · share of the transactions. The {top.height} largest of {ranked.height:,}. "
        "Click a bar to look only at it."
    )
    frame.freshness([answer, every], shared.settings.dashboard.time_zone)


def _look_only_at(dimension: str, drawn: list[str], key: str) -> None:
    """Filter by the bar that was clicked of those that were drawn: counted again, the chart is another one."""
    for point in st.session_state[key]["selection"]["points"]:
        st.session_state[dimension] = [drawn[point["point_index"]]]
        st.session_state["picked"] = True


@st.fragment(run_every=frame.SLOW_REFRESH)
def _week(shared: Services, threshold: float, filters: Filters) -> None:
    st.subheader("Hour and weekday")
    answer = _suspected(shared, filters, *CLOCK)
    if frame.nothing_yet(answer, "Nothing is suspected here, at any threshold."):
        return
    assert answer.frame is not None  # noqa: S101 - nothing_yet looked
    every = shared.whole.count(filters, *CLOCK)
    grid = tally.by(answer.frame.drop_nulls(CLOCK), threshold, *CLOCK, of=every.frame).sort(CLOCK)
    grid = grid.rename(dict(zip(CLOCK, ("weekday", "hour"), strict=True)))
    st.plotly_chart(
        charts.week(grid), key="week", config=charts.CONFIG, alt="Suspected transactions by hour and weekday"
    )
    frame.freshness([answer, every], shared.settings.dashboard.time_zone)


@st.fragment(run_every=frame.SLOW_REFRESH)
def _days(shared: Services, threshold: float, filters: Filters) -> None:
    st.subheader("Day by day")
    answer = _suspected(shared, filters, "day")
    if frame.nothing_yet(answer, "Nothing is suspected here, at any threshold."):
        return
    assert answer.frame is not None  # noqa: S101 - nothing_yet looked
    per_day = tally.by(answer.frame, threshold, "day").sort("day")
    st.plotly_chart(
        charts.days(per_day, shared.settings.dashboard.currency), key="days", config=charts.CONFIG,
        alt="Suspected transactions and their amount, by day",
    )  # fmt: skip
    frame.freshness([answer], shared.settings.dashboard.time_zone)


@st.fragment(run_every=frame.SLOW_REFRESH)
def _map(shared: Services, threshold: float, filters: Filters) -> None:
    settings = shared.settings.dashboard
    st.subheader("Merchants, homes and the way between")
    (answer,) = shared.answers.ask(queries.suspects(threshold, filters, shared.whole.since()))
    if frame.nothing_yet(answer):
        return
    assert answer.frame is not None  # noqa: S101 - nothing_yet looked
    st.plotly_chart(
        charts.places(answer.frame, settings.currency), key="map", on_select=_pick_case, selection_mode="points",
        config=charts.CONFIG | {"scrollZoom": True}, alt="Map of suspected transactions: merchant, home, distance",
    )  # fmt: skip
    st.caption(f"The newest {answer.frame.height} suspected transactions. Click a merchant to open its case.")
    frame.freshness([answer], settings.time_zone)
    if case := st.session_state.get("picked-case"):
        st.link_button("Open the case", frame.case_link(case), icon=":material/open_in_new:", type="primary")
    with st.expander("The same as a table", icon=":material/table:", key="table", on_change="rerun") as table:
        if table.open:
            st.dataframe(
                _case_table(answer.frame, settings.currency), hide_index=True, key="map-rows", height=320,
                column_config={"Score": frame.SCORE_COLUMN, "Case": frame.CASE_COLUMN}, alt="The same transactions",
            )  # fmt: skip


def _pick_case() -> None:
    for point in st.session_state["map"]["selection"]["points"]:
        if len(point.get("customdata") or ()) > 4:  # a merchant, and not a home
            st.session_state["picked-case"] = point["customdata"][4]


def _case_table(rows: pl.DataFrame, currency: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "When (shop's clock)": row["transaction_date"],
                "Score": row["fraud_probability"],
                "Amount": show.money(row["amount"], currency),
                "Merchant": show.masked(row["merchant"]),
                "Customer": show.masked(row["customer_name"]),
                "From home": show.kilometres(row["distance_from_home"]),
                "Case": frame.case_link(row["transaction_number"]),
            }
            for row in rows.iter_rows(named=True)
        ]
    )


@st.fragment(run_every=frame.SLOW_REFRESH)
def _distributions(shared: Services, threshold: float, filters: Filters) -> None:
    suspects, every = _suspected(shared, filters, "amount_band"), shared.whole.count(filters, "amount_band")
    bands, settings = shared.whole.count(filters, "band"), shared.settings.dashboard
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Scores")
        if bands.frame is not None and bands.frame.height:
            st.plotly_chart(
                charts.scores(bands.frame.drop_nulls("band"), queries.at_or_above(threshold), queries.BANDS),
                key="scores", config=charts.CONFIG, alt="Number of transactions by score, on a logarithmic scale",
            )  # fmt: skip
            frame.freshness([bands], settings.time_zone)
        else:
            frame.nothing_yet(bands)
    with right:
        st.subheader("Amounts")
        if suspects.frame is not None and every.frame is not None and every.frame.height:
            st.plotly_chart(
                charts.amounts(_amount_shares(suspects.frame, every.frame, threshold, settings.currency)),
                key="amounts", config=charts.CONFIG,
                alt="Share of each amount band, among suspected and all transactions",
            )  # fmt: skip
            frame.freshness([suspects, every], settings.time_zone)
        else:
            frame.nothing_yet(every)


def _amount_shares(suspects: pl.DataFrame, every: pl.DataFrame, threshold: float, currency: str) -> pl.DataFrame:
    totals = tally.by(suspects, threshold, "amount_band", of=every).sort("amount_band")
    labels = {
        edge: f"{currency}{edge:,}+" if edge == AMOUNT_EDGES[-1] else f"{currency}{edge:,}–{following:,}"
        for edge, following in zip(AMOUNT_EDGES, (*AMOUNT_EDGES[1:], 0), strict=True)
    }
    return pl.DataFrame(
        {
            "label": [labels.get(edge, str(edge)) for edge in totals["amount_band"]],
            "suspected_share": 100 * totals["suspected"] / max(int(totals["suspected"].sum()), 1),
            "all_share": 100 * totals["transactions"] / max(int(totals["transactions"].sum()), 1),
        }
    )
