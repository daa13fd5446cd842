"""What people look at, in a real Chromium, over a real Kafka and Hazelcast."""

import json
import re
from datetime import timedelta

import polars as pl
import psutil
import pytest
from playwright.sync_api import Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from dashboard import links, show
from infra.hazelcast import PREDICTIONS, connect
from infra.local import processes, stack
from infra.local.registry import Registry
from infra.local.status import status_of
from infra.projection import Projection
from tests import kafka_log
from tests.browser.conftest import Shown
from tests.browser.made import CARD, made
from tests.waiting import until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.server,
    pytest.mark.timeout(300, method="thread"),
]

slow = pytest.mark.slow

SCRIPT, INJECTION = "<script>window.pwned = 1</script><b>bold</b>", "'); DROP MAPPING x;--"
START = 0.05  # the threshold of the project's own model, on the slider
DARK = "rgb(14, 21, 28)"  # theme.dark's background in dashboard/.streamlit/config.toml
MIDDLE_OF_LAST_BAR = """() => {
    const chart = document.querySelector("[data-testid=stPlotlyChart]");
    const bar = chart && [...chart.querySelectorAll(".bars .point")].at(-1);
    if (!bar) return null;
    bar.scrollIntoView({ block: "center", behavior: "instant" });
    const box = bar.getBoundingClientRect();
    return box.width && { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}"""
VIEWS = ("", "explore", "cases", "model", "sql", "operations")


def metric(page: Page, label: str) -> Locator:
    box = page.get_by_test_id("stMetric").filter(has=page.get_by_text(label, exact=True))
    return box.get_by_test_id("stMetricValue").first


def settle(page: Page) -> None:
    """Wait until every question of the page is answered."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    expect(page.get_by_text(re.compile(r"^(Counting|Watching|Looking)\b.*…$"))).to_have_count(0)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def labels_of(shown: Shown, number: str) -> list[dict]:
    topic = shown.settings.kafka.topics.labels
    return [label for label in kafka_log.values(shown.settings.kafka, topic) if label["transaction_number"] == number]


def suspected(shown: Shown, threshold: float, **equal: str) -> int:
    everything = pl.concat([shown.fed, pl.DataFrame(shown.extra)], how="diagonal_relaxed") if shown.extra else shown.fed
    rows = everything.filter(pl.col("fraud_probability") >= threshold)
    for name, value in equal.items():
        rows = rows.filter(pl.col(name) == value)
    return rows.height


@slow
def test_live_counts_what_flows_and_goes_on_by_itself(shown, visit):
    page = visit()
    expect(metric(page, "Transactions")).to_have_text(f"{shown.fed.height + len(shown.extra):,}")
    expect(metric(page, "Suspected fraud")).to_have_text(f"{suspected(shown, START):,}")
    expect(page.get_by_text("Hazelcast up")).to_be_visible()
    shown.send(made("live-1"), made("live-2", fraud_probability=0.01))
    expect(metric(page, "Transactions")).to_have_text(f"{shown.fed.height + len(shown.extra):,}")
    expect(metric(page, "Suspected fraud")).to_have_text(f"{suspected(shown, START):,}")


def test_every_view_shows_real_data(shown, visit):
    shown.send(made("beside-1", challenger_version="trial-7", challenger_probability=0.4))
    page = visit()
    expect(page.get_by_text("Hazelcast up")).to_be_visible()
    expect(metric(page, "Transactions")).to_have_text(f"{shown.fed.height + len(shown.extra):,}")
    for view, drawn in (("Explore", 6), ("Cases", 0), ("Model", 3), ("SQL", 0), ("Operations", 0), ("Live", 1)):
        page.get_by_test_id("stTopNavLink").filter(has_text=view).click()
        expect(page.get_by_role("heading", name=view, level=1)).to_be_visible()
        settle(page)
        expect(page.locator("[data-testid=stPlotlyChart] .main-svg:first-child")).to_have_count(drawn)
        if view == "Model":
            expect(page.get_by_text("trial-7 on 1")).to_be_visible()


def test_the_threshold_moves_what_is_suspected_and_is_in_the_address(shown, visit):
    page = visit()
    slider = page.get_by_role("slider")
    expect(slider).to_have_value(str(START))
    for _ in range(5):
        slider.press("ArrowRight")
    expect(metric(page, "Suspected fraud")).to_have_text(f"{suspected(shown, 0.1):,}")
    expect(page).to_have_url(re.compile(r"threshold=0\.1$"))
    for path in ("/", "/live"):
        again = visit(f"{path}?{page.url.split('?')[1]}")
        expect(metric(again, "Suspected fraud")).to_have_text(f"{suspected(shown, 0.1):,}")


@slow
def test_a_filtered_view_can_be_sent_to_a_colleague(shown, visit):
    page = visit("/explore")
    category = page.get_by_test_id("stMultiSelect").filter(has_text="Category").get_by_role("combobox")
    category.fill("travel")
    category.press("Enter")
    page.keyboard.press("Escape")
    page.get_by_role("radio", name="Merchant").or_(page.get_by_role("button", name="Merchant")).first.click()
    expect(metric(page, "Suspected")).to_have_text(f"{suspected(shown, START, category='travel'):,}")
    expect(page).to_have_url(re.compile("category=travel"))
    expect(page).to_have_url(re.compile("by=Merchant"))
    colleague = visit("/explore?" + page.url.split("?")[1])
    expect(metric(colleague, "Suspected")).to_have_text(f"{suspected(shown, START, category='travel'):,}")
    expect(colleague.get_by_test_id("stMultiSelect").filter(has_text="Category")).to_contain_text("travel")
    expect(colleague.get_by_text(re.compile("^Suspected amount · number"))).to_be_visible()


def test_a_bar_that_is_clicked_filters_while_transactions_flow(shown, visit):
    page = visit("/explore?by=Gender")
    bars = page.get_by_test_id("stPlotlyChart").first.locator(".bars .point")
    expect(bars).to_have_count(shown.fed["customer_gender"].n_unique())
    settle(page)
    shown.send(made("bar-1"))  # counted again, the chart is another one when the click is heard of

    def click_is_heard() -> bool:
        # A redraw replaces every bar: one that is found by one question is gone before the next is asked.
        middle = page.wait_for_function(MIDDLE_OF_LAST_BAR).json_value()
        page.mouse.click(middle["x"], middle["y"])
        try:
            page.wait_for_url(re.compile(r"customer_gender=[FM]"), timeout=20_000)
        except PlaywrightTimeoutError:
            return False  # Streamlit drops a click on a chart of which a newer one is on its way to the page
        return True

    until(click_is_heard, what="a click's filter")
    chosen = page.url.split("customer_gender=")[1][0]
    expect(metric(page, "Suspected")).to_have_text(f"{suspected(shown, START, customer_gender=chosen):,}")


def test_names_that_are_code_are_shown_as_text(shown, visit):
    shown.send(
        made("evil-1", merchant=SCRIPT, customer_name=SCRIPT, amount=90_000.0),
        made("evil-2", merchant=INJECTION, customer_name=INJECTION, amount=80_000.0),
    )
    page = visit("/explore?by=Merchant&category=travel")
    chart = page.get_by_test_id("stPlotlyChart").first
    expect(chart).to_contain_text("<script>window.pwned")
    expect(chart).to_contain_text(INJECTION)
    case = visit("/cases?case=evil-1")
    expect(case.get_by_role("heading", name=re.compile("90,000"))).to_contain_text(SCRIPT)
    assert page.evaluate("window.pwned") is None
    assert case.evaluate("window.pwned") is None
    filtered = visit("/explore?merchant=" + "%27%29%3B%20DROP%20MAPPING%20x%3B--")
    expect(metric(filtered, "Transactions")).to_have_text("1")
    mappings = [row.get_object_with_index(0) for row in shown.client.sql.execute("SHOW MAPPINGS").result()]
    assert PREDICTIONS in mappings


def test_a_verdict_arrives_in_labels_with_who_and_when(shown, visit):
    shown.send(made("case-1", amount=70_000.0))
    page = visit("/cases?case=case-1")
    name = page.get_by_label("Your name")
    name.fill("grace")
    name.press("Enter")
    page.get_by_role("button", name="Take this case").click()
    colleague = visit("/cases?case=case-1")
    colleague.get_by_label("Your name").fill("linus")
    colleague.get_by_label("Your name").press("Enter")
    expect(colleague.get_by_text("grace works on it")).to_be_visible()
    page.get_by_role("button", name="Fraud", exact=True).click()
    expect(page.get_by_role("button", name="Take the next case")).to_be_visible()
    (label,) = until(lambda: labels_of(shown, "case-1"), what="the verdict in Labels")
    assert (label["verdict"], label["source"], label["by"]) == ("fraud", "analyst", "grace")
    assert label["at"].endswith("+00:00")
    assert (label["fraud_probability"], label["model_version"]) == (0.97, "m-1")
    expect(colleague.get_by_text("Fraud by analyst grace")).not_to_be_visible()
    expect(visit("/cases?case=case-1").get_by_text(re.compile("by analyst grace"))).to_be_visible()


def test_a_case_opens_that_the_map_of_all_has_pushed_out(shown, visit):
    shown.send(made("old-1", amount=4_321.5))
    predictions = shown.client.get_map(PREDICTIONS)
    pushed_out = predictions.remove("old-1").result()
    try:
        page = visit("/cases?case=old-1")
        expect(page.get_by_text("4,321.50").first).to_be_visible()
        expect(page.get_by_text("Made By Hand").first).to_be_visible()
    finally:
        predictions.set("old-1", pushed_out).result()


def test_a_customers_link_works_once(shown, visit):
    shown.send(made("asked-1"))
    page = visit("/cases?case=asked-1")
    page.get_by_label("Your name").fill("grace")
    page.get_by_label("Your name").press("Enter")
    page.get_by_role("button", name="Take this case").click()
    page.get_by_role("button", name="Ask the customer").click()
    expect(page.get_by_role("link", name="Explore")).to_be_visible()
    link = page.get_by_test_id("stCode").inner_text().strip()
    assert link.startswith(shown.url + "/answer?t=")
    page = visit("/cases?case=asked-1")
    page.get_by_label("Your name").fill("grace")
    page.get_by_label("Your name").press("Enter")
    expect(page.get_by_test_id("stCode")).to_have_text(link)  # who has the case finds it again
    customer = visit(link.removeprefix(shown.url))
    expect(customer.get_by_text("Made By Hand")).to_be_visible()
    expect(customer.get_by_text("with the card ending 7899")).to_be_visible()
    assert "Ada" not in customer.inner_text("body")
    expect(customer.get_by_role("link", name="Explore")).to_have_count(0)  # what is the analysts' is not named
    customer.get_by_role("button", name="No, this was not me").click()
    expect(customer.get_by_text("Thank you for telling us")).to_be_visible()
    until(lambda: len(labels_of(shown, "asked-1")) == 2, what="the answer in Labels")
    asked, answered = sorted(labels_of(shown, "asked-1"), key=lambda label: label["at"])
    assert (asked["verdict"], asked["by"]) == ("asked", "grace")
    assert (answered["verdict"], answered["source"]) == ("fraud", "customer")
    again = visit(link.removeprefix(shown.url))
    expect(again.get_by_text("You have answered already")).to_be_visible()
    expect(again.get_by_role("button", name="Yes, this was me")).not_to_be_visible()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda token: token[:5] + ("A" if token[5] != "A" else "B") + token[6:], "not one of ours"),
        (lambda token: token + "x", "not one of ours|not complete"),
        (lambda token: token.split(".")[0], "not complete"),
        (lambda _: "", "not complete"),
    ],
    ids=["tampered", "longer", "cut", "empty"],
)
def test_a_changed_link_is_refused(shown, visit, change, told):
    key = shown.settings.dashboard.link_key.get_secret_value().encode()
    page = visit("/answer?t=" + change(links.sign(links.issue("asked-1", timedelta(hours=1)), key)))
    expect(page.get_by_text(re.compile(told))).to_be_visible()
    expect(page.get_by_role("button", name="Yes, this was me")).not_to_be_visible()


def test_an_expired_link_is_refused(shown, visit):
    key = shown.settings.dashboard.link_key.get_secret_value().encode()
    page = visit("/answer?t=" + links.sign(links.issue("asked-1", timedelta(hours=-1)), key))
    expect(page.get_by_text("This link has expired")).to_be_visible()


def test_sql_of_ones_own_runs_and_what_is_not_a_question_does_not(shown, visit):
    page = visit("/sql")
    statement = page.get_by_label("Statement")
    statement.fill("SELECT COUNT(*) AS n FROM predictionResult WHERE amount < 0")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text(re.compile(r"^1 rows, "))).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert download.value.path().read_text() == "n\n0\n"
    statement.fill("SELECT * FROM TABLE(json_flat_file(path => '/etc', glob => 'passwd'))")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("Not run:")).to_be_visible()


@slow
def test_no_view_and_no_download_shows_a_card_number(shown, visit):
    shown.send(
        made("pan-1", credit_card_number=CARD, merchant=f"Shop {CARD}", customer_name="4000 0012 3456 7899", amount=1e5)
    )
    digits = re.compile(r"4000[ -]?0012[ -]?3456[ -]?7899")
    page = visit()
    for path in (*VIEWS, "explore?by=Merchant", "explore?by=Customer", "cases?case=pan-1"):
        page.goto(f"{shown.url}/{path}")
        settle(page)
        if path.startswith("explore"):
            page.get_by_text("The same as a table").click()
            expect(page.get_by_test_id("stDataFrame")).to_be_visible()
            settle(page)
        assert not digits.search(page.content()), path
    page.goto(f"{shown.url}/sql")
    page.get_by_label("Statement").fill("SELECT * FROM predictionResult WHERE transaction_number = 'pan-1'")
    page.get_by_role("button", name="Run").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    text = download.value.path().read_text()
    assert "************7899" in text
    assert not digits.search(text)


@slow
@pytest.mark.parametrize("view", VIEWS)
def test_each_view_can_be_read_on_a_phone_and_in_the_dark(shown, visit, view):
    page = visit(f"/{view}", "dark")
    page.set_viewport_size({"width": 390, "height": 844})
    settle(page)
    expect(page.get_by_test_id("stApp")).to_have_css("background-color", DARK)
    wide = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
    assert wide <= 390, "nothing needs scrolling sideways"


@slow
def test_hazelcast_away_is_told_and_comes_back_by_itself(shown, visit, log):
    page = visit()
    before = f"{shown.fed.height + len(shown.extra):,}"
    expect(metric(page, "Transactions")).to_have_text(before)
    home = stack.home_of(shown.settings)
    member = Registry(home).alive("hazelcast-1")
    assert member is not None
    processes.stop([psutil.Process(member.pid)], grace_seconds=10)
    expect(page.get_by_text(re.compile("Hazelcast is away"))).to_be_visible()
    expect(metric(page, "Transactions")).to_have_text(before)
    newcomer = visit("/explore")
    # Its banner: numbers that cannot be renewed say the same where they stand.
    banner = newcomer.get_by_test_id("stAlertContentError")
    expect(banner.get_by_text(re.compile("Hazelcast is away"))).to_be_visible()
    stack.up(shown.settings, services={stack.HAZELCAST})
    shown.client.shutdown()
    shown.client = connect(shown.settings.hazelcast)
    Projection(shown.client, shown.settings).ensure()
    shown.project()
    expect(page.get_by_text("Hazelcast up")).to_be_visible()
    expect(page.get_by_text(re.compile("Hazelcast is away"))).not_to_be_visible()
    expect(metric(page, "Transactions")).to_have_text(before)
    assert "Traceback" not in log()


@slow
def test_kafka_away_is_told_and_what_live_has_counted_is_stale_until_it_is_back(shown, visit, log):
    page = visit()
    counted = f"{shown.fed.height + len(shown.extra):,}"
    expect(metric(page, "Transactions")).to_have_text(counted)
    broker = Registry(stack.home_of(shown.settings)).alive("kafka")
    assert broker is not None
    process, stale = psutil.Process(broker.pid), page.get_by_text(re.compile("Stale: as of .* Kafka is away"))
    process.suspend()
    try:
        expect(page.get_by_test_id("stAlertContentError").get_by_text(re.compile("Kafka is away"))).to_be_visible()
        expect(stale).to_be_visible()
        expect(metric(page, "Transactions")).to_have_text(counted)
    finally:
        process.resume()
    expect(page.get_by_text("Kafka up")).to_be_visible()
    expect(stale).not_to_be_visible()
    assert "Traceback" not in log()


def test_up_tells_where_the_dashboard_is(shown):
    told = {service.name: service for service in status_of(shown.settings)}["dashboard"]
    assert told.state == "running"
    assert shown.url == f"http://{told.address}"
    listening = {c.laddr.ip for c in psutil.Process(told.pid).net_connections() if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_masking_leaves_numbers_that_are_no_cards_alone():
    assert show.masked(CARD) == "************7899"
    assert show.masked(json.dumps({"n": 1_234_567_890_123})) == '{"n": 1234567890123}'
