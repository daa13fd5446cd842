"""Takes the pictures of the dashboard in docs/screenshots: `python -m scripts.screenshots`, while a stack is up.

They show whatever flows at that moment: run `fraudflow run` before, and the deployments `score/local` and
`seed-transactions/local` with a rate meanwhile.
"""

from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

from infra.errors import TerminalError
from infra.hazelcast import connect
from infra.settings import Settings, get_settings
from scripts.drawn import READY
from tests.browser.chromium import launch

OUT = Path(__file__).parents[1] / "docs" / "screenshots"
_WIDTH, _PHONE, _HEIGHT, _TALLEST = 1280, 390, 800, 3_000
_PATIENCE_MS = 60_000
# Long enough for a chart to be drawn again after its page has changed.
_DRAWN_MS = 1_500
_ANALYST = "grace"


def main() -> None:
    """Open each view and write its picture."""
    settings = get_settings()
    if not settings.dashboard_url:
        raise TerminalError("no dashboard: start the local stack with `fraudflow up`")
    case = _largest_case(settings)
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright.chromium)
        # Nobody has looked at this stack yet: a first look lets it count, and the newest minutes fill.
        _shoot(browser, settings, "live", "/", "Live")
        for view in ("Explore", "Cases", "Model", "SQL", "Operations"):
            _shoot(browser, settings, view.lower(), f"/{view.lower()}", view)
        _shoot(browser, settings, "case", f"/cases?case={case}", "Cases")
        _shoot(browser, settings, "case-dark", f"/cases?case={case}", "Cases", scheme="dark")
        _shoot(browser, settings, "live", "/", "Live")
        _shoot(browser, settings, "live-dark", "/", "Live", scheme="dark")
        _shoot(browser, settings, "live-phone", "/", "Live", width=_PHONE)
        _shoot(browser, settings, "answer-phone", _ask(browser, settings, case), "Was this you?", width=_PHONE)
        browser.close()


def _largest_case(settings: Settings) -> str:
    client = connect(settings.hazelcast)
    query = "SELECT transaction_number FROM predictionResult WHERE fraud_probability >= ? ORDER BY amount DESC LIMIT 1"
    rows = list(client.sql.execute(query, settings.scoring.threshold()).result())
    client.shutdown()
    if not rows:
        raise TerminalError("nothing is suspected yet: `fraudflow run` scores transactions")
    return str(rows[0].get_object_with_index(0))


def _ask(browser: Browser, settings: Settings, case: str) -> str:
    """Ask the customer, as the analyst who has the case; the path of the page where they answer."""
    page = browser.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    page.goto(f"{settings.dashboard_url}/cases?case={case}")
    page.get_by_label("Your name").fill(_ANALYST)
    page.get_by_label("Your name").press("Enter")
    page.get_by_role("button", name="Ask the customer").click()
    link = page.get_by_test_id("stCode").inner_text().strip()
    page.close()
    return link.removeprefix(settings.dashboard_url or "")


def _shoot(
    browser: Browser,
    settings: Settings,
    name: str,
    path: str,
    title: str,
    *,
    scheme: Literal["light", "dark"] = "light",
    width: int = _WIDTH,
) -> None:
    page = browser.new_page(viewport={"width": width, "height": _HEIGHT}, color_scheme=scheme)
    page.set_default_timeout(_PATIENCE_MS)
    page.goto(f"{settings.dashboard_url}{path}")
    _drawn(page, title)
    if title == "Cases":
        page.get_by_label("Your name").fill(_ANALYST)
        page.get_by_label("Your name").press("Enter")
        page.get_by_role("button", name="Take this case").or_(page.get_by_role("button", name="Genuine")).or_(
            page.get_by_role("button", name="Take the next case")
        ).first.wait_for()
        if page.get_by_role("button", name="Take this case").count():
            page.get_by_role("button", name="Take this case").click()
            page.get_by_role("button", name="Genuine").wait_for()
    elif title == "SQL":
        page.get_by_role("button", name="Run").click()
        page.get_by_role("button", name="Download CSV").wait_for()
    height = 0
    while height < (wanted := page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")):
        # A taller page draws more of itself, and can be taller then.
        height = int(wanted)
        page.set_viewport_size({"width": width, "height": min(height, _TALLEST)})
        _drawn(page, title)
    page.screenshot(path=OUT / f"{name}.png")
    page.close()


def _drawn(page: Page, title: str) -> None:
    page.wait_for_function(READY, arg=[title, ""])
    page.wait_for_timeout(_DRAWN_MS)
    page.wait_for_function(READY, arg=[title, ""])


if __name__ == "__main__":
    main()
