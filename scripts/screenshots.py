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
# Long enough for every question of a page to be answered, on a busy machine too.
_SETTLE_MS = 8_000


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
    browser_path = os.environ.get("FRAUDFLOW_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=browser_path, args=arguments)
        shots = [(name, path, "light", _WIDTH) for name, path in views.items()]
        shots += [("live-dark", "/", "dark", _WIDTH), ("live-phone", "/", "light", _PHONE)]
        for name, path, scheme, width in shots:
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
            page.goto(f"{settings.dashboard_url}{path}")
            _settle(page, name)
            height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
            page.set_viewport_size({"width": width, "height": min(int(height), 2_000)})
            page.wait_for_timeout(1_000)
            page.screenshot(path=OUT / f"{name}.png")
            page.close()
        browser.close()


def _settle(page: Page, name: str) -> None:
    page.get_by_role("heading", level=1).wait_for()
    if name == "sql":
        page.get_by_role("button", name="Run").click()
    page.wait_for_timeout(_SETTLE_MS)
    page.get_by_text("Counting …").first.wait_for(state="hidden")


if __name__ == "__main__":
    main()
