"""The customer's side of "was this you?": reached by a signed link, and by nothing else."""

import streamlit as st

from dashboard import show
from dashboard.links import LinkRefused
from dashboard.services import services
from infra.errors import TransientError

_SORRY = "Something of ours does not answer at the moment. This page goes on by itself: your link stays valid."


def page() -> None:
    """Draw it."""
    _, middle, _ = st.columns([1, 2, 1])
    with middle:
        st.title("Was this you?")
        _question(st.query_params.get("t", ""))


@st.fragment(run_every="5s")
def _question(token: str) -> None:
    """Drawn again and again, for what does not answer now may do so soon."""
    if done := st.session_state.get("answered"):
        st.success(done, icon=":material/check_circle:")
        return
    if problem := st.session_state.pop("problem", None):
        st.warning(problem, icon=":material/hourglass:")
    try:
        asked = services().desk.read_link(token)
    except LinkRefused as refused:
        st.error(str(refused), icon=":material/link_off:")
        return
    except TransientError:
        st.warning(_SORRY, icon=":material/hourglass:")
        return
    with st.container(border=True):
        currency = services().settings.dashboard.currency
        st.subheader(show.money(asked.amount, currency))
        st.markdown(
            f"at **{show.markdown(show.masked(asked.merchant or show.DASH))}**  \n"
            f"{show.markdown(asked.transaction_date or show.DASH)} by the shop's clock  \n"
            f"with the card ending {show.markdown(asked.card_last4 or show.DASH)}"
        )
    left, right = st.columns(2)
    left.button("Yes, this was me", on_click=_answer, args=(token, True), width="stretch", icon=":material/thumb_up:")
    right.button(
        "No, this was not me", on_click=_answer, args=(token, False), width="stretch", icon=":material/block:",
        type="primary",
    )  # fmt: skip
    st.caption("We will never ask for your card number, your PIN or a password.")


def _answer(token: str, was_me: bool) -> None:
    try:
        services().desk.answer(token, was_me)
    except LinkRefused as refused:
        st.session_state["problem"] = str(refused)
    except TransientError:
        st.session_state["problem"] = _SORRY
    else:
        st.session_state["answered"] = (
            "Thank you. We know now that it was you."
            if was_me
            else "Thank you for telling us. We take care of it and will be in touch."
        )
