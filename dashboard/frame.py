"""What stands around every page: how the systems are, and how old the numbers."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import quote

import streamlit as st

from dashboard import show
from dashboard.answers import Answer
from dashboard.services import services
from dashboard.state import State
from dashboard.whole import Whole

# Twenty open pages are drawn anew by one process, on cores that score: what changes by the second is drawn often.
REFRESH, SLOW_REFRESH = "3s", "10s"
# Seldom at the moment of another part (3, 5 and 10 s): Streamlit 1.67 forgets what a part has drawn if it is asked for
# the next one before that was sent.
_SYSTEMS_REFRESH = "4s"
# The newest million are read in some seconds; a page is not kept back for longer.
_PATIENCE_SECONDS, _LOOK_SECONDS = 15.0, 0.2
CASE_COLUMN = st.column_config.LinkColumn(display_text="Open", width="small")
SCORE_COLUMN = st.column_config.ProgressColumn(min_value=0, max_value=1, format="%.2f", width="small")


@st.fragment(run_every=_SYSTEMS_REFRESH)
def systems() -> None:
    """Say which systems answer and which are away, since when; by itself, every four seconds."""
    shared = services()
    zone = shared.settings.dashboard.time_zone
    states = (shared.cluster.watched.state, shared.stream.watched.state)
    still = shared.stream.stands_still_since
    # One element in each case, so that nothing below jumps when a system goes or comes back.
    if all(state.up for state in states) and still:
        st.warning(
            f"**Scoring stands still** since {_moment(still, zone)}, and transactions wait. Operations shows the runs.",
            icon=":material/pause_circle:",
        )
    elif all(state.up for state in states):
        names = " · ".join(f":green[●] {state.name} up" for state in states)
        st.caption(f"{names} · {show.clock(datetime.now(UTC), zone)}", text_alignment="right")
    else:
        away = [state for state in states if not state.up]
        st.error("  \n".join(_away(state, zone) for state in away), icon=":material/cloud_off:")


def _away(state: State, zone: str) -> str:
    return (
        f"**{state.name} is away** since {_moment(state.since, zone)}: {show.markdown(state.detail)}. "
        "What you see is the newest that was known; it goes on by itself when it is back."
    )


def _moment(moment: datetime, zone: str) -> str:
    return f"{show.clock(moment, zone)} ({show.duration((datetime.now(UTC) - moment).total_seconds())})"


def wait_for_counts() -> None:
    """Where the dashboard has just started: show how much of the newest predictions is read, until all are."""
    whole = services().whole
    if whole.reading is None:
        return
    place, deadline = st.empty(), time.monotonic() + _PATIENCE_SECONDS
    while (share := whole.reading) is not None and time.monotonic() < deadline:
        place.progress(share, f"Reading the newest predictions: {share:.0%}")
        time.sleep(_LOOK_SECONDS)
    place.empty()


def freshness(answers: Iterable[Answer], zone: str) -> None:
    """One line: how old the numbers are, and whether Hazelcast could not give newer ones."""
    answers = list(answers)
    moments = [answer.as_of for answer in answers if answer.as_of]
    errors = {answer.error for answer in answers if answer.error}
    if errors:
        oldest = f"as of {show.clock(min(moments), zone)}" if moments else "not here yet"
        st.caption(f":orange[▲ Stale]: {oldest}. {show.markdown('; '.join(sorted(errors)))}")
    elif not moments:
        st.caption("Counting …")
    else:
        st.caption(f"Counted {show.ago(min(moments))}, {show.clock(min(moments), zone)}")


def nothing_yet(answer: Answer, empty: str = "Nothing here yet: no predictions match.") -> bool:
    """Whether there is no answer, or an `empty` one; says so in its place."""
    if answer.frame is not None and answer.frame.height:
        return False
    if answer.frame is not None:
        st.info(empty, icon=":material/inbox:")
    elif answer.error:
        st.info("No answer from Hazelcast yet.", icon=":material/cloud_off:")
    else:
        st.caption("Counting …")
    return True


def extent(whole: Whole) -> None:
    """One line where not all predictions are counted, but the newest."""
    if whole.since():
        st.caption(
            f"Of the newest {show.count(whole.held)} predictions; FRAUDFLOW_PROJECTION__MAX_ENTRIES says how many."
        )


def case_link(number: object) -> str:
    """The address of a case, on this server."""
    return f"/cases?case={quote(str(number), safe='')}"
