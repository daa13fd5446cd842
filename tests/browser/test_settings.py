"""What a setting changes for those who look: a login, a time limit, metrics."""

import json
import re
import urllib.request

import pytest
from playwright.sync_api import expect
from prometheus_client.parser import text_string_to_metric_families

from dashboard.views.operations import GRAFANA
from infra.local import ports
from tests.browser import feed, oidc
from tests.browser.made import made
from tests.kafka_log import values
from tests.waiting import until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.timeout(200, method="thread"),
]


@pytest.fixture
def walled(serve, tmp_path):
    """A dashboard that asks for a login."""
    port = ports.choose(0, setting="")
    with oidc.provider() as provider:
        told = tmp_path / "secrets.toml"
        told.write_text(f"""
            [auth]
            redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
            cookie_secret = "for this test alone"
            client_id = "{oidc.CLIENT}"
            client_secret = "{oidc.SECRET}"
            server_metadata_url = "{provider}/.well-known/openid-configuration"
        """)
        # Authlib refuses an http:// provider, which nobody but a test has.
        yield serve(port, FRAUDFLOW_DASHBOARD__SECRETS=str(told), AUTHLIB_INSECURE_TRANSPORT="1")


def test_nothing_is_shown_before_a_login_and_a_verdict_carries_who_logged_in(shown, walled, browser):
    shown.send(made("walled-1", amount=60_000.0))
    context = browser.new_context()
    page, received = context.new_page(), bytearray()

    def listen(socket):
        socket.on("framereceived", lambda data: received.extend(data if isinstance(data, bytes) else data.encode()))

    page.on("websocket", listen)
    secrets = [b"walled-1", b"Made By Hand", b"Ada Lovelace", *(name.encode() for name in shown.fed["customer_name"])]
    for view in ("", "explore", "cases?case=walled-1", "model", "sql", "operations"):
        page.goto(f"{walled}/{view}")
        expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert received
    assert not [secret for secret in secrets if secret in received]
    # A customer has no login: the link is what lets them in, to that one page.
    page.goto(walled + feed.ask_customer(shown.settings, "walled-1"))
    expect(page.get_by_role("button", name="Yes, this was me")).to_be_visible()

    page.goto(f"{walled}/cases?case=walled-1")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    page.goto(f"{walled}/cases?case=walled-1")
    page.get_by_role("button", name="Take this case").click()
    page.get_by_role("button", name="Genuine").click()
    topic = shown.settings.kafka.topics.labels
    (label,) = until(
        lambda: [
            v
            for v in values(shown.settings.kafka, topic)
            if v["transaction_number"] == "walled-1" and v["by"] != "grace"
        ],
        what="the verdict in Labels",
    )
    assert (label["verdict"], label["by"]) == ("genuine", oidc.PERSON["email"])
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    context.close()


def test_a_question_that_takes_too_long_is_given_up_and_told(shown, serve, browser):
    url = serve(ports.choose(0, setting=""), FRAUDFLOW_DASHBOARD__QUERY_SECONDS="0.001")
    page = browser.new_page()
    page.goto(f"{url}/explore")
    expect(page.get_by_text(re.compile("Stale.*gave it up after 0.001 s")).first).to_be_visible()
    page.goto(f"{url}/sql")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text(re.compile("No answer: .*gave it up after 0.001 s"))).to_be_visible()
    expect(page.get_by_text("Hazelcast up")).to_be_visible()
    page.close()


def test_metrics_have_every_name_that_the_grafana_dashboard_draws(shown, serve):
    port = ports.choose(0, setting="")
    serve(ports.choose(0, setting=""), FRAUDFLOW_DASHBOARD__METRICS_PORT=str(port))

    def served():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return {sample.name: sample.value for family in families for sample in family.samples}

    drawn = {
        name
        for panel in json.loads(GRAFANA.read_text())["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"fraudflow_\w+", target["expr"])
        if not name.startswith("fraudflow_scorer_")
    }
    assert len(drawn) >= 8
    until(lambda: drawn <= served().keys(), what=f"all of {sorted(drawn)}")
    assert served()["fraudflow_projected_transactions"] == shown.fed.height + len(shown.extra)
