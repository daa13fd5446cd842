"""Takes the pictures of the dashboard in docs/screenshots: `python -m scripts.screenshots`, while a stack is up.

They show whatever flows at that moment: run `fraudflow run` before.
"""

import os
import shutil
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from infra.errors import TerminalError
from infra.hazelcast import connect
from infra.settings import get_settings

OUT = Path(__file__).parents[1] / "docs" / "screenshots"
_WIDTH, _PHONE = 1280, 390
_PATIENCE_MS = 120_000
# Long enough for a chart to be drawn again after its page has changed.
_DRAWN_MS = 2_000
_ANSWERED = """() => !document.querySelector('[data-testid=stSkeleton]')
    && !/^(Counting|Watching|Looking)\\b.*…$/m.test(document.body.innerText)"""


def main() -> None:
    """Open each view and write its picture."""
    settings = get_settings()
    if not settings.dashboard_url:
        raise TerminalError("no dashboard: start the local stack with `fraudflow up`")
    client = connect(settings.hazelcast)
    query = "SELECT transaction_number FROM predictionResult WHERE fraud_probability >= ? ORDER BY amount DESC LIMIT 1"
    rows = list(client.sql.execute(query, settings.scoring.alert_threshold).result())
    client.shutdown()
    views = {"live": "/"} | {name: f"/{name}" for name in ("explore", "cases", "model", "sql", "operations")}
    if rows:
        views["case"] = f"/cases?case={rows[0].get_object_with_index(0)}"
    browser_path = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("google-chrome")
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=browser_path, args=arguments)
        shots = [(name, path, "light", _WIDTH) for name, path in views.items()]
        shots += [("live-dark", "/", "dark", _WIDTH), ("live-phone", "/", "light", _PHONE)]
        for name, path, scheme, width in shots:
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
            page.set_default_timeout(_PATIENCE_MS)
            page.goto(f"{settings.dashboard_url}{path}")
            _settle(page, name)
            height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
            page.set_viewport_size({"width": width, "height": min(int(height), 2_400)})
            page.wait_for_timeout(_DRAWN_MS)
            page.wait_for_function(_ANSWERED)
            page.screenshot(path=OUT / f"{name}.png")
            page.close()
        browser.close()


def _settle(page: Page, name: str) -> None:
    """Wait until every question of the page is answered and drawn."""
    page.get_by_role("heading", level=1).wait_for()
    if name == "sql":
        page.get_by_role("button", name="Run").click()
        page.get_by_role("button", name="Download CSV").wait_for()
    page.wait_for_timeout(_DRAWN_MS)
    page.wait_for_function(_ANSWERED)
    page.wait_for_timeout(_DRAWN_MS)


if __name__ == "__main__":
    main()
