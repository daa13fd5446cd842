"""A real Chromium, and a stack of its own whose Hazelcast a test may stop."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from hazelcast.client import HazelcastClient
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from infra.hazelcast import PREDICTIONS, SUSPECTS, connect
from infra.kafka import ensure_topics
from infra.local import dashboard_server, ports, stack
from infra.projection import Projection
from infra.projection_sql import LOWEST_SUSPICION
from infra.settings import DashboardSettings, Settings
from tests.browser import feed
from tests.browser.chromium import NoBrowserError, launch
from tests.conftest import PROJECT, running
from tests.waiting import until

FED = 3_000
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Gone with the module: while Playwright runs, its event loop makes Prefect take every call for an async one."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        try:
            opened = launch(playwright.chromium)
        except NoBrowserError as error:
            pytest.skip(str(error))
        yield opened
        opened.close()


@dataclass
class Shown:
    """A stack with a dashboard and what was fed into it."""

    settings: Settings
    client: HazelcastClient
    fed: pl.DataFrame
    extra: list[dict] = field(default_factory=list)

    @property
    def url(self) -> str:
        return str(self.settings.dashboard_url)

    def project(self) -> None:
        """Wait until all that was fed is in Hazelcast."""
        Projection(self.client, self.settings).ensure()
        scores = [*self.fed["fraud_probability"], *(row["fraud_probability"] for row in self.extra)]
        suspects = sum(score >= LOWEST_SUSPICION for score in scores)
        for name, expected in ((PREDICTIONS, len(scores)), (SUSPECTS, suspects)):
            until(
                lambda name=name, expected=expected: self.client.get_map(name).size().result() >= expected,
                what=f"{expected} in {name}",
            )

    def send(self, *rows: dict) -> None:
        """Send predictions made by hand."""
        self.extra += rows
        feed.send_rows(self.settings, rows)
        self.project()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Shown]:
    services = {stack.KAFKA, stack.HAZELCAST, stack.DASHBOARD}
    with running(tmp_path_factory.mktemp("shown"), services) as settings:
        ensure_topics(settings.kafka)
        client = connect(settings.hazelcast)
        fed = pl.concat(feed.predictions(feed.population(400, 60), FED))
        feed.send(settings, fed)
        ready = Shown(settings, client, fed)
        ready.project()
        yield ready
        client.shutdown()


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Pages share the browser's cache; Streamlit has a session for each."""
    opened = browser.new_context(viewport={"width": 1360, "height": 900})
    opened.set_default_timeout(PATIENCE_MS)
    yield opened
    opened.close()


@pytest.fixture
def visit(context: BrowserContext, shown: Shown) -> Iterator[Callable[..., Page]]:
    """Opens an address of the dashboard as somebody new; nothing that a page does wrong goes unseen."""
    pages, mistakes = [], []

    def open_page(path: str = "/", scheme: Literal["light", "dark"] = "light") -> Page:
        page = context.new_page()
        page.emulate_media(color_scheme=scheme)
        pages.append(page)
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        page.on("dialog", lambda dialog: mistakes.append(dialog.message))
        page.goto(shown.url + path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        return page

    yield open_page
    for page in pages:
        exceptions = page.get_by_test_id("stException")
        if exceptions.count():
            mistakes += exceptions.all_inner_texts()
        page.close()
    assert not mistakes


@pytest.fixture
def serve(shown: Shown) -> Iterator[Callable[..., str]]:
    """Starts a further dashboard on the same stack with settings of its own; its address."""
    started: list[subprocess.Popen] = []

    def start(port: int, **changes: str) -> str:
        settings = DashboardSettings(secrets=changes.get("FRAUDFLOW_DASHBOARD__SECRETS"))
        command = [sys.executable, *dashboard_server.arguments(settings, port)]
        environment = dashboard_server.environment(stack.home_of(shown.settings)) | changes
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, cwd=PROJECT))
        until(lambda: dashboard_server.answers(f"{ports.HOST}:{port}"), what="the further dashboard")
        return dashboard_server.url(f"{ports.HOST}:{port}")

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def log(shown: Shown) -> Callable[[], str]:
    """What the dashboard's process has written."""
    return (Path(shown.settings.local.home) / "logs" / "dashboard.log").read_text
