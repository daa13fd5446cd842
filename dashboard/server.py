"""What Streamlit serves: the pages of app.py; and, from its start and not from the first visit on, what they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import metrics, warming
from dashboard.services import services
from infra.priority import step_behind

_NICENESS = 10


@asynccontextmanager
async def _lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
    # Where they share cores, those who score come first.
    step_behind(_NICENESS)
    shared = services()
    metrics.serve(shared)
    warming.start(shared)
    yield {}


app = st.App(Path(__file__).with_name("app.py"), lifespan=_lifespan)
