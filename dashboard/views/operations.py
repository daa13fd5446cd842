"""Operations: the systems behind the numbers, and where to look further."""

import urllib.error
import urllib.request
from pathlib import Path

import streamlit as st

from dashboard import frame, show
from dashboard.answers import Question
from dashboard.desk import ANSWERS, CLAIMS
from dashboard.services import Services, services
from infra.errors import TransientError
from infra.hazelcast import CARD_ACTIVITY, CUSTOMERS, MANIFEST, MERCHANTS, PREDICTIONS, SNAPSHOTS, SUSPECTS
from infra.projection_sql import JOBS

_MAPS = {
    PREDICTIONS: "the newest predictions",
    SUSPECTS: "those of them that are worth a look",
    CARD_ACTIVITY: "what each card did last",
    CUSTOMERS: "features of customers",
    MERCHANTS: "features of merchants",
    MANIFEST: "which features are loaded",
    SNAPSHOTS: "the features as the scorers take them",
    CLAIMS: "cases that somebody works on",
    ANSWERS: "customers' answers on their way",
}
GRAFANA = Path(__file__).parents[1] / "grafana.json"


def page() -> None:
    """Draw it."""
    shared = services()
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        st.title("Operations")
    with right:
        frame.systems()
    left, right = st.columns(2, gap="medium")
    with left:
        _hazelcast(shared)
    with right:
        _kafka(shared)
        _prefect(shared)
    _further(shared)


@st.fragment(run_every="5s")
def _hazelcast(shared: Services) -> None:
    with st.container(border=True):
        st.subheader("Hazelcast")
        try:
            members = shared.cluster.members()
            sizes = {name: shared.cluster.on_map(name, lambda m: m.size()) for name in _MAPS}
        except TransientError as error:
            st.warning(show.markdown(error), icon=":material/cloud_off:")
            return
        st.markdown(
            ("One member: " if len(members) == 1 else f"{len(members)} members: ")
            + ", ".join(show.markdown(member) for member in members)
        )
        (jobs,) = shared.answers.ask(Question("SHOW JOBS"), fresh_seconds=5)
        names = [] if jobs.frame is None else jobs.frame["name"].to_list()
        if names:
            st.markdown("Jobs that run: " + ", ".join(f":green[●] {show.markdown(name)}" for name in names))
        missing = [name for name in JOBS if name not in names]
        if missing and jobs.frame is not None:
            st.warning(f"Predictions do not reach all of Hazelcast: {show.markdown(', '.join(missing))} does not run. "
                       "`score` makes the jobs again; so does the deployment `provision`.",
                       icon=":material/warning:")  # fmt: skip
        frame.freshness([jobs], shared.settings.dashboard.time_zone)
        st.dataframe(
            [{"Map": name, "Entries": show.count(sizes[name]), "Holds": text} for name, text in _MAPS.items()],
            hide_index=True, key="maps", alt="Maps and their sizes",
        )  # fmt: skip


@st.fragment(run_every="5s")
def _kafka(shared: Services) -> None:
    with st.container(border=True):
        st.subheader("Kafka")
        st.markdown(f"At {show.markdown(shared.settings.kafka.bootstrap_servers or 'no address')}")
        samples = list(shared.stream.samples)
        if not samples:
            st.caption(show.markdown(shared.stream.watched.state.detail or "Looking …"))
            return
        last, topics = samples[-1], shared.settings.kafka.topics
        rows = [
            (f"{topics.transactions}, records", show.count(last.arrived)),
            (f"{topics.predictions}, records and markers", show.count(last.scored)),
            ("Waiting to be scored", show.count(last.lag)),
            ("Predictions a second", show.count(last.per_second)),
            ("Newest prediction", show.clock(last.newest, shared.settings.dashboard.time_zone)),
            (f"{topics.labels}, transactions spoken about", show.count(len(shared.stream.labels()))),
        ]
        st.dataframe([{"What": what, "Now": now} for what, now in rows], hide_index=True, key="topics",
                     alt="Kafka topics and lag")  # fmt: skip


@st.cache_data(ttl=5, show_spinner=False)
def _prefect_answers(api: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api.rstrip('/')}/health", timeout=2) as response:  # noqa: S310
            return response.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


@st.fragment(run_every="10s")
def _prefect(shared: Services) -> None:
    with st.container(border=True):
        st.subheader("Prefect")
        api = shared.settings.prefect_api_url
        if not api:
            st.caption("No Prefect in the settings: `fraudflow up` starts one.")
            return
        ui = shared.settings.prefect_pages
        st.markdown(":green[●] It answers." if _prefect_answers(api) else ":orange[▲] It does not answer now.")
        with st.container(horizontal=True):
            for name, path in (("Runs", "/runs"), ("Deployments", "/deployments"), ("Artifacts", "/artifacts"),
                               ("Work pools", "/work-pools"), ("Events", "/events")):  # fmt: skip
                st.link_button(name, f"{ui}{path}", icon=":material/open_in_new:")


def _further(shared: Services) -> None:
    st.subheader("For those who want more")
    metrics, center = st.columns(2, gap="medium")
    with metrics, st.container(border=True):
        port = shared.settings.dashboard.metrics_port
        st.markdown("**Prometheus and Grafana**")
        st.markdown(
            f"Metrics are served at `http://{shared.settings.dashboard.address}:{port}/metrics`."
            if port
            else "Set `FRAUDFLOW_DASHBOARD__METRICS_PORT=9108`, and this dashboard serves its numbers to Prometheus."
        )
        st.markdown(
            "Each scorer serves its own, at the addresses in Prefect's artifact *scoring*; "
            "`FRAUDFLOW_SCORING__HEALTH_PORT=9400` makes them 9400, 9401 and so on."
        )
        st.download_button("Grafana dashboard", GRAFANA.read_text(), "fraudflow-grafana.json", "application/json",
                           icon=":material/download:", on_click="ignore")  # fmt: skip
    with center, st.container(border=True):
        st.markdown("**Hazelcast Management Center**")
        members = ", ".join(shared.settings.hazelcast.members or ["127.0.0.1:5701"])
        st.markdown("Three members or fewer need no licence. With Docker, on the machine that runs the members:")
        st.code("docker run --network host hazelcast/management-center:5.6", language="shell", wrap_lines=True)
        st.markdown(
            f"Open `http://127.0.0.1:8080`, choose *Dev Mode*, and add the cluster "
            f"`{shared.settings.hazelcast.cluster_name}` at `{members}`."
        )
