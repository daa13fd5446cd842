"""What Streamlit serves: the pages of app.py; and, from its start and not from the first visit on, what they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import metrics, warming
from dashboard.services import services
from infra.priority import give_way


@asynccontextmanager
async def _lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
    shared = services()
    metrics.serve(shared)
    warming.start(shared)
    if shared.settings.dashboard.give_way:
        give_way()  # last, so that it starts beside others who compute, too
    yield {}


app = st.App(Path(__file__).with_name("app.py"), lifespan=_lifespan)
