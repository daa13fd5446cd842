"""How long each view of the dashboard takes with a million predictions: `python -m scripts.dashboard_speed`.

A real Chromium on a stack of its own, all on this machine. Times run from the click, or the key, until every number
and picture of the view is drawn. Writes docs/dashboard-speed.md.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks import machine
from infra.local import stack
from scripts.dashboard_data import stack_with
from scripts.drawn import READY
from tests.browser.chromium import launch

OUT = Path(__file__).parents[1] / "docs" / "dashboard-speed.md"
_VIEWS = ("Live", "Explore", "Cases", "Model", "SQL", "Operations")
_PATIENCE_MS = 60_000
_TABS, _ROUNDS = 3, 3


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as home,
        stack_with(Path(home), arguments.predictions) as (settings, _),
        sync_playwright() as playwright,
    ):
        stack.up(settings, services={stack.DASHBOARD})
        url = str(stack.with_addresses(settings).dashboard_url)
        browser = launch(playwright.chromium)
        first, _ = _tour(browser, url)
        tours = [_tour(browser, url) for _ in range(_TABS)]
        questions = _questions(browser, url)
        browser.close()
    text = _report(arguments.predictions, first, tours, questions)
    OUT.write_text(text)
    print(text)


def _tour(browser: Browser, url: str) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds from the click on each view's name until it is drawn, for somebody new; `open`: the app itself.

    In a new tab, where each view's code has to be read as well, and the median of further rounds in the same tab.
    """
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(_PATIENCE_MS)
    times = {"open": _timed(page, lambda: page.goto(f"{url}/operations"), "Operations")}
    times |= _round(page)
    again = _median([_round(page) for _ in range(_ROUNDS)])
    page.goto(f"{url}/cases")
    _ready(page, "Cases")
    page.get_by_label("Your name").fill("grace")
    page.get_by_label("Your name").press("Enter")
    page.wait_for_timeout(1_000)
    times["A case"] = _timed(
        page, page.get_by_role("button", name="Take the next case").click, "Cases", "This card lately"
    )
    page.close()
    return times, again


def _round(page: Page) -> dict[str, float]:
    times = {}
    for view in _VIEWS:
        times[view] = _timed(page, page.get_by_test_id("stTopNavLink").filter(has_text=view).click, view)
        print(f"{view}: {times[view]:.2f} s", file=sys.stderr)
    return times


def _median(times: list[dict[str, float]]) -> dict[str, float]:
    return {view: statistics.median(one[view] for one in times) for view in times[0]}


def _questions(browser: Browser, url: str) -> dict[str, float]:
    """Seconds for what nobody has asked before: a filter, two filters, another breakdown, SQL of one's own."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(_PATIENCE_MS)
    page.goto(f"{url}/explore")
    _ready(page, "Explore")
    times = {}
    for name, value in (("Category", "travel"), ("Gender", "F")):
        box = page.get_by_test_id("stMultiSelect").filter(has_text=name).get_by_role("combobox")
        box.fill(value)
        times[f"Explore, filter {name} = {value} added"] = _changed(page, lambda box=box: box.press("Enter"), "Explore")
        page.keyboard.press("Escape")
    page.goto(f"{url}/explore?by=City")
    _ready(page, "Explore")
    page.goto(f"{url}/sql")
    _ready(page, "SQL")
    times["SQL, the first example"] = _timed(page, page.get_by_role("button", name="Run").click, "SQL", "Download CSV")
    page.close()
    return times


def _timed(page: Page, act: Callable[[], object], title: str, text: str = "") -> float:
    began = time.monotonic()
    act()
    _ready(page, title, text)
    return time.monotonic() - began


def _changed(page: Page, act: Callable[[], object], title: str) -> float:
    """As `_timed`, when the number of transactions has changed too."""
    number = page.get_by_test_id("stMetricValue").first
    before = number.inner_text()
    began = time.monotonic()
    act()
    page.wait_for_function(
        "old => document.querySelector('[data-testid=stMetricValue]')?.innerText !== old", arg=before, polling="raf"
    )
    _ready(page, title)
    return time.monotonic() - began


def _ready(page: Page, title: str, text: str = "") -> None:
    page.wait_for_function(READY, arg=[title, text], polling="raf")


def _report(
    predictions: int,
    first: dict[str, float],
    tours: list[tuple[dict[str, float], dict[str, float]]],
    asked: dict[str, float],
) -> str:
    stamp, newcomers, again = machine.stamp(), *map(_median, map(list, zip(*tours, strict=True)))
    return "\n".join(
        [
            f"# The dashboard on {predictions:,} predictions",
            "",
            f"`{' '.join(['python', '-m', 'scripts.dashboard_speed', *sys.argv[1:]])}`, {stamp['date']}, revision "
            f"{stamp['revision']}, {stamp['machine']}; Kafka, Hazelcast, dashboard and browser on the same cores.",
            "",
            "Seconds from the click until every number and picture is drawn:",
            "",
            "| view | the first visitor after the start | the next ones, each in a new tab | from view to view there |",
            "|---|---|---|---|",
            *(
                f"| {'The app itself, on an empty browser cache' if view == 'open' else view} | {seconds:.2f} "
                f"| {newcomers[view]:.2f} | {format(again[view], '.2f') if view in again else ''} |"
                for view, seconds in first.items()
            ),
            "",
            f"Medians of {_TABS} tabs, and of {_ROUNDS} rounds in each. In a new tab the browser reads the code of "
            "what it has not drawn yet.",
            "",
            "What nobody has asked before, so that the cluster counts:",
            "",
            "| | s |",
            "|---|---|",
            *(f"| {name} | {seconds:.2f} |" for name, seconds in asked.items()),
            "",
        ]
    )


if __name__ == "__main__":
    main()
