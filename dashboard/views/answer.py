"""The customer's side of "was this you?": reached by a signed link, and by nothing else."""

import streamlit as st

from dashboard import show
from dashboard.links import LinkRefused
from dashboard.services import services
from infra.errors import TransientError

_SORRY = "Something of ours does not answer at the moment. Please try again in a minute: your link stays valid."


def page() -> None:
    """Draw it."""
    _, middle, _ = st.columns([1, 2, 1])
    with middle:
        st.title("Was this you?")
        if done := st.session_state.get("answered"):
            st.success(done, icon=":material/check_circle:")
            return
        if problem := st.session_state.pop("problem", None):
            st.warning(problem, icon=":material/hourglass:")
        token = st.query_params.get("t", "")
        desk = services().desk
        try:
            link = desk.read_link(token)
            record = desk.prediction(link.transaction_number)
        except LinkRefused as refused:
            st.error(str(refused), icon=":material/link_off:")
            return
        except TransientError:
            st.warning(_SORRY, icon=":material/hourglass:")
            return
        if record is None:
            st.info("We no longer hold this transaction. Please call the number on the back of your card.")
            return
        with st.container(border=True):
            currency = services().settings.dashboard.currency
            st.subheader(f"{show.money(record.get('amount'), currency)}")
            st.markdown(
                f"at **{show.markdown(show.masked(str(record.get('merchant'))))}**  \n"
                f"{show.markdown(str(record.get('transaction_date')))} by the shop's clock  \n"
                f"with the card ending {show.markdown(str(record.get('card_last4')))}"
            )
        left, right = st.columns(2)
        left.button(
            "Yes, this was me", on_click=_answer, args=(token, True), width="stretch", icon=":material/thumb_up:"
        )
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
