"""Cases: the work queue, and one transaction with all that helps to judge it."""

from functools import partial
from typing import Any

import polars as pl
import streamlit as st

from dashboard import charts, frame, queries, show
from dashboard.desk import FALSE_POSITIVE_REASONS, CaseRefused
from dashboard.evidence import FEATURES, reasons, stands_out
from dashboard.labels import FRAUD, GENUINE, VERDICTS, Label
from dashboard.services import Services, services
from infra.errors import TransientError

_HISTORY = 60


def page() -> None:
    """Draw it."""
    shared = services()
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        st.title("Cases")
    with right:
        frame.systems()
    if message := st.session_state.pop("said", None):
        st.toast(message, icon=":material/check_circle:")
    if error := st.session_state.pop("failed", None):
        st.error(show.markdown(error), icon=":material/error:")
    who = _who(shared)
    number = st.query_params.get("case")
    if number:
        _case(shared, number, who)
    else:
        _queue(shared, who)


def _who(shared: Services) -> str:
    """The analyst: who is logged in, or else the name that they gave in this session."""
    if shared.settings.dashboard.secrets is not None:
        return str(st.user.get("email") or st.user.get("name") or "unknown")
    # A widget's own key is forgotten when its page is left.
    name = st.text_input(
        "Your name", value=st.session_state.get("analyst", ""), placeholder="Stands beside your verdicts", max_chars=60,
        width=320,
    )  # fmt: skip
    st.session_state["analyst"] = (name or "").strip()
    return st.session_state["analyst"]


def _open(number: str | None) -> None:
    if number is None:
        st.query_params.pop("case", None)
    else:
        st.query_params["case"] = number


@st.fragment(run_every="5s")
def _queue(shared: Services, who: str) -> None:
    if "case" in st.query_params:  # a row was clicked
        st.rerun()
    if not shared.stream.labels_read:
        st.info(
            "The verdicts are still being read: until then, judged cases would look open.", icon=":material/hourglass:"
        )
        return
    settings = shared.settings
    threshold = shared.threshold.alert
    answer, cases = shared.queue.largest_open(threshold)
    (all_of,) = shared.answers.ask(queries.suspicion(threshold))
    if frame.nothing_yet(answer, "Nothing is suspected."):
        return
    try:
        claims = shared.desk.claims()
    except TransientError:
        claims = {}
    free = cases.filter(~pl.col("transaction_number").is_in(list(claims)))
    mine = [number for number, owner in claims.items() if owner == who]
    boxes = st.columns(4)
    number, at_risk = (None, None) if all_of.frame is None else all_of.frame.row(0)
    boxes[0].metric("Suspected", show.count(number), border=True,
                    help=f"All that Hazelcast holds from a score of {threshold:g} on, as scorers alert")  # fmt: skip
    boxes[1].metric("At risk", show.money(at_risk, settings.dashboard.currency), border=True,
                    help="Amount times score of all that is suspected")  # fmt: skip
    boxes[2].metric("Taken", show.count(len(claims)), border=True)
    boxes[3].metric("Yours", show.count(len(mine)), border=True)
    with st.container(horizontal=True):
        if st.button(
            "Take the next case",
            type="primary",
            icon=":material/front_hand:",
            disabled=not (who and free.height),
            help=None if who else "Give your name first",
        ):
            _take_next(shared, free, who)
        for number in mine[:4]:
            if st.button(f"Go on with {number[:8]}", key=f"mine-{number}", icon=":material/folder_open:"):
                _open(number)
                st.rerun()
    st.caption(
        f"The {cases.height:,} largest amounts at risk that nobody has judged. A taken case is yours alone for "
        f"{settings.dashboard.claim_minutes:.0f} minutes; one whose customer was asked comes back after "
        f"{settings.dashboard.link_hours:.0f} hours without an answer, if Hazelcast still holds it."
    )
    st.dataframe(
        _queue_table(cases, claims, settings.dashboard.currency), hide_index=True, height=460, key="queue",
        on_select=partial(_open_picked, cases["transaction_number"].to_list()), selection_mode="single-row",
        alt="Open cases", column_config={"Score": frame.SCORE_COLUMN},
    )  # fmt: skip
    frame.freshness([answer], settings.dashboard.time_zone)


def _open_picked(drawn: list[str]) -> None:
    """Open the row that was clicked of those that were drawn: by now others may stand there."""
    for row in st.session_state["queue"]["selection"]["rows"]:
        _open(drawn[row])


def _take_next(shared: Services, free: pl.DataFrame, who: str) -> None:
    try:
        number = shared.desk.take_next(free, who)
    except TransientError as error:
        st.session_state["failed"] = str(error)
    else:
        if number is None:
            st.session_state["said"] = "Others have taken what was left"
        _open(number)
    st.rerun()


def _queue_table(cases: pl.DataFrame, claims: dict[str, str], currency: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "At risk": show.money(row["at_risk"], currency),
                "Score": row["fraud_probability"],
                "Amount": show.money(row["amount"], currency),
                "Merchant": show.masked(row["merchant"]),
                "Customer": show.masked(row["customer_name"]),
                "Card": show.card(row["card_last4"]),
                "When (shop's clock)": row["transaction_date"],
                "Taken by": claims.get(row["transaction_number"], ""),
            }
            for row in cases.iter_rows(named=True)
        ]
    )


def _case(shared: Services, number: str, who: str) -> None:
    st.button("Back to the queue", icon=":material/arrow_back:", on_click=_open, args=(None,), type="tertiary")
    try:
        record = shared.desk.prediction(number)
    except TransientError:
        st.info("This case can be opened when Hazelcast is back.", icon=":material/cloud_off:")
        return
    if record is None:
        st.warning(
            "Hazelcast does not hold this transaction (any more). It keeps the newest ones; Kafka has all.",
            icon=":material/search_off:",
        )
        return
    currency = shared.settings.dashboard.currency
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _facts(record, currency)
    with right:
        _verdict(shared, record, who)
    history = _history(shared, record)
    _why(record, history, currency)
    if history is not None and history.height:
        left, right = st.columns(2, gap="medium")
        with left:
            st.subheader("This card lately")
            st.plotly_chart(
                charts.history(history, number, currency), key="history", config=charts.CONFIG,
                alt="The card's transactions over time",
            )  # fmt: skip
        with right:
            st.subheader("Where")
            st.plotly_chart(
                charts.places(history, currency, number), key="where", config=charts.CONFIG,
                alt="The card's transactions on a map, with the distance from home",
            )  # fmt: skip
        st.dataframe(
            _history_table(history, number, currency), hide_index=True, key="history-rows",
            alt="The card's transactions",
        )  # fmt: skip
    else:
        st.caption("None of this card's transactions is among the newest.")
    _features(record)


def _facts(record: dict[str, Any], currency: str) -> None:
    with st.container(border=True):
        st.subheader(f"{show.money(record.get('amount'), currency)} at {_text(record, 'merchant')}")
        columns = st.columns(3)
        columns[0].metric("Score", f"{record.get('fraud_probability') or 0:.3f}")
        columns[1].metric("From home", show.kilometres(record.get("distance_from_home")))
        columns[2].metric("Card", show.card(record.get("card_last4")))
        st.markdown(
            f"{_text(record, 'customer_name')}, {_text(record, 'customer_age_group')}, "
            f"{_text(record, 'customer_city')}  \n"
            f"{_text(record, 'category')} · {_text(record, 'transaction_date')} by the shop's clock  \n"
            f"Model {_text(record, 'model_version')} · features {_text(record, 'features_version')}"
        )


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    return show.DASH if value is None else show.markdown(show.masked(str(value)))


def _verdict(shared: Services, record: dict[str, Any], who: str) -> None:
    number = str(record["transaction_number"])
    with st.container(border=True):
        st.subheader("What is it?")
        said = shared.stream.label(number)
        if said:
            by = f"{said.source} {said.by}" if said.source != "customer" else "the customer"
            reason = f", {said.reason}" if said.reason else ""
            st.markdown(
                f"**{VERDICTS.get(said.verdict, 'Said')}** by {show.markdown(by)}{show.markdown(reason)}, "
                f"{show.markdown(show.written(said.at, shared.settings.dashboard.time_zone))}"
            )
        if not who:
            st.caption("Give your name above, and you can judge it.")
            return
        try:
            owner = shared.desk.owner(number)
        except TransientError as error:
            st.caption(show.markdown(error))
            return
        if owner not in {None, who}:
            st.warning(f"{show.markdown(owner)} works on it.", icon=":material/lock:")
            return
        if owner is None:
            st.button(
                "Take this case", type="primary", icon=":material/front_hand:", on_click=_take, args=(number, who)
            )
            return
        seen = said.at if said else None
        reason = st.selectbox("If it is genuine, why did it look like fraud?", FALSE_POSITIVE_REASONS, index=None,
                              placeholder="A reason helps the next model", key=f"reason-{number}")  # fmt: skip
        note = st.text_input("Note", key=f"note-{number}", max_chars=500)
        fraud = Label(number, FRAUD, "analyst", who, note=note or None)
        genuine = Label(number, GENUINE, "analyst", who, reason=reason, note=note or None)
        with st.container(horizontal=True):
            st.button("Fraud", type="primary", icon=":material/gpp_bad:", on_click=_judge, args=(fraud, seen))
            st.button("Genuine", icon=":material/verified_user:", on_click=_judge, args=(genuine, seen))
            st.button("Ask the customer", icon=":material/contact_support:", on_click=_ask, args=(number, who, seen))
            st.button("Release", type="tertiary", icon=":material/undo:", on_click=_release, args=(number, who))
        if said and (address := shared.desk.address(said)):
            st.caption(
                f"Send this to the customer. It works once, for {shared.settings.dashboard.link_hours:.0f} hours from "
                "when they were asked, and their answer arrives as a label."
            )
            st.code(address, language=None, wrap_lines=True)


def _take(number: str, who: str) -> None:
    try:
        owner = services().desk.take(number, who)
    except TransientError as error:
        st.session_state["failed"] = str(error)
        return
    if owner != who:
        st.session_state["failed"] = f"{owner} was faster"


def _judge(label: Label, seen: str | None) -> None:
    try:
        services().desk.judge(label, seen)
    except (CaseRefused, TransientError) as error:
        st.session_state["failed"] = str(error)
        return
    st.session_state["said"] = f"Kept: {VERDICTS[label.verdict].lower()}"
    _open(None)


def _ask(number: str, who: str, seen: str | None) -> None:
    try:
        services().desk.ask_customer(number, who, seen)
    except (CaseRefused, TransientError) as error:
        st.session_state["failed"] = str(error)


def _release(number: str, who: str) -> None:
    try:
        services().desk.release(number, who)
    except TransientError as error:
        st.session_state["failed"] = str(error)
        return
    _open(None)


def _history(shared: Services, record: dict[str, Any]) -> pl.DataFrame | None:
    """The newest transactions of the card, as far as they are known; None while Hazelcast is away."""
    numbers = shared.whole.of_card(str(record.get("card_token") or ""), _HISTORY)
    try:
        return shared.desk.history(numbers, queries.CASE_COLUMNS)
    except TransientError:
        return None


def _why(record: dict[str, Any], history: pl.DataFrame | None, currency: str) -> None:
    st.subheader("Why it was suspected")
    told = reasons(record)
    if told:
        for reason in told:
            st.markdown(f"- {show.markdown(reason)}")
    else:
        st.caption("The model gave no reasons with this prediction. What stands out against the card's own history:")
        for line in stands_out(record, history, currency) or ["Nothing: it looks like what this card usually does."]:
            st.markdown(f"- {show.markdown(line)}")


def _history_table(history: pl.DataFrame, number: str, currency: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "": "▶ this one" if row["transaction_number"] == number else "",
                "When (shop's clock)": row["transaction_date"],
                "Amount": show.money(row["amount"], currency),
                "Merchant": show.masked(row["merchant"]),
                "Category": row["category"],
                "From home": show.kilometres(row["distance_from_home"]),
                "Score": f"{row['fraud_probability']:.3f}",
            }
            for row in history.iter_rows(named=True)
        ]
    )


def _features(record: dict[str, Any]) -> None:
    with st.expander("What the model saw, and what is kept of the prediction", icon=":material/data_object:"):
        rows = [
            {"field": FEATURES.get(name, name), "value": str(show.masked(value))}
            for name, value in record.items()
            if name != "reasons"
        ]
        st.dataframe(rows, hide_index=True, key="features", alt="The fields of the prediction")
