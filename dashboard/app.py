"""The pages: `fraudflow dashboard`, or `streamlit run dashboard/server.py`."""

from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st

from dashboard.services import services
from dashboard.views import answer, cases, explore, live, model, operations, sql

_FOLDER = Path(__file__).parent


def main() -> None:
    """One run of the page that is open."""
    st.set_page_config(page_title="fraudflow", page_icon=":material/radar:", layout="wide")
    st.logo(str(_FOLDER / "logo.svg"), size="large")
    st.html(_FOLDER / "style.css")
    pages = [
        st.Page(live.page, title="Live", icon=":material/monitoring:", default=True),
        st.Page(explore.page, title="Explore", icon=":material/travel_explore:", url_path="explore"),
        st.Page(cases.page, title="Cases", icon=":material/fact_check:", url_path="cases"),
        st.Page(model.page, title="Model", icon=":material/model_training:", url_path="model"),
        st.Page(sql.page, title="SQL", icon=":material/database:", url_path="sql"),
        st.Page(operations.page, title="Operations", icon=":material/lan:", url_path="operations"),
    ]
    customer = st.Page(answer.page, title="Was this you?", url_path="answer", visibility="hidden")
    # The first page's own address is /, and people write what they see.
    first = st.Page(live.page, title="Live", url_path="live", visibility="hidden")
    # To a customer the others are not named.
    asked = urlsplit(st.context.url or "").path.rpartition("/")[2] == customer.url_path
    chosen = st.navigation([*pages, customer, first], position="hidden" if asked else "top")
    shared = services()
    if chosen == customer:
        # A customer has no login here: the link is what lets them in, to this one page.
        chosen.run()
        return
    if shared.settings.dashboard.secrets is not None and not st.user.is_logged_in:
        st.title("fraudflow")
        st.write("Card transactions and people's names are behind this door.")
        st.button("Log in", type="primary", on_click=st.login, icon=":material/login:")
        return
    chosen.run()
    if shared.settings.dashboard.secrets is not None:
        st.button("Log out", type="tertiary", on_click=st.logout, icon=":material/logout:")


main()
