"""What all sessions of this process share: the connections and the memory of answers."""

from dataclasses import dataclass

import streamlit as st

from dashboard.answers import Answers
from dashboard.cluster import Cluster
from dashboard.desk import Desk
from dashboard.playground import Playground
from dashboard.queue import Queue
from dashboard.state import Watched
from dashboard.stream import Stream
from dashboard.threshold import Threshold
from dashboard.whole import Whole
from infra.settings import Settings, get_settings


@dataclass(frozen=True, eq=False)
class Services:
    """Made once for the process."""

    settings: Settings
    cluster: Cluster
    answers: Answers
    whole: Whole
    threshold: Threshold
    stream: Stream
    desk: Desk
    queue: Queue
    playground: Playground


@st.cache_resource(show_spinner=False)
def services() -> Services:
    """The shared services."""
    settings = get_settings()
    cluster = Cluster(settings.hazelcast, settings.dashboard.query_seconds)
    kafka = Watched("Kafka")
    whole = Whole(settings, kafka)
    stream = Stream(settings, kafka, lambda: whole.passed)
    answers = Answers(cluster)
    desk = Desk(settings, cluster, stream)
    return Services(
        settings,
        cluster,
        answers,
        whole,
        Threshold(settings),
        stream,
        desk,
        Queue(answers, desk),
        Playground(cluster, settings.dashboard.playground_rows),
    )
