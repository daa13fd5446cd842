"""SQL: a playground over the predictions."""

import time

import streamlit as st

from dashboard import charts, frame, show
from dashboard.playground import EXAMPLES, Refused, Result, column_help
from dashboard.queries import LOWEST
from dashboard.services import services
from infra.errors import TransientError


def page() -> None:
    """Draw it."""
    shared = services()
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        st.title("SQL")
    with right:
        frame.systems()
    if not shared.settings.dashboard.playground:
        st.info("The playground is switched off here (FRAUDFLOW_DASHBOARD__PLAYGROUND).", icon=":material/lock:")
        return
    st.caption(
        f"One SELECT over predictionResult, or over suspectedPredictions: those with a score of {LOWEST:g} and more, "
        f"sooner. Up to {shared.settings.dashboard.playground_rows:,} rows and "
        f"{shared.settings.dashboard.query_seconds:.0f} s. Nothing can be changed here."
    )
    editor, help_ = st.columns([3, 1], gap="medium")
    with editor:
        st.selectbox("Start from an example", list(EXAMPLES), key="example", on_change=_take_example)
        st.session_state.setdefault("statement", next(iter(EXAMPLES.values())))
        with st.form("query", border=False):
            text = st.text_area("Statement", key="statement", height=170)
            asked = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:", shortcut="Ctrl+Enter")
        if asked:
            _run(text)
    with help_, st.expander("Columns", expanded=False, icon=":material/view_column:"):
        st.dataframe(
            [{"column": name, "type": kind, "suspected": both} for name, kind, both in column_help()],
            hide_index=True, height=290, alt="Columns that can be read",
            column_config={"suspected": st.column_config.CheckboxColumn(help="Also in suspectedPredictions")},
        )  # fmt: skip
    _show()


def _take_example() -> None:
    st.session_state["statement"] = EXAMPLES[st.session_state["example"]]


def _run(text: str) -> None:
    st.session_state.pop("result", None)
    began = time.monotonic()
    try:
        result = services().playground.run(text)
    except Refused as refused:
        st.session_state["result"] = f"Not run: {refused}."
    except TransientError as error:
        st.session_state["result"] = f"No answer: {error}"
    else:
        st.session_state["result"] = (result, time.monotonic() - began)


def _show() -> None:
    kept = st.session_state.get("result")
    if kept is None:
        return
    if isinstance(kept, str):
        st.error(show.markdown(kept), icon=":material/block:")
        return
    result, seconds = kept
    assert isinstance(result, Result)  # noqa: S101 - tells the type checker
    cut = ", the first of more" if result.cut else ""
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.caption(f"{result.frame.height:,} rows{cut}, {seconds:.2f} s")
    right.download_button(
        "Download CSV", result.frame.write_csv(), "predictions.csv", "text/csv", icon=":material/download:",
        width="stretch", on_click="ignore",
    )  # fmt: skip
    st.dataframe(
        result.frame, hide_index=True, key="rows", alt="The rows of the answer",
        column_config={
            name: st.column_config.NumberColumn(format="localized")
            for name, kind in result.frame.schema.items() if kind.is_float()
        },
    )  # fmt: skip
    figure = charts.anything(result.frame)
    if figure is not None:
        st.plotly_chart(figure, key="picture", config=charts.CONFIG, alt="The first 40 rows as bars")
