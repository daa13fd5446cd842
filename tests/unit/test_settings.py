"""Settings that cannot be are told by name, in one sentence, without the value."""

import pytest

from infra.errors import TerminalError
from infra.settings import KafkaSettings, Settings, get_settings


@pytest.fixture(autouse=True)
def _fresh() -> None:
    get_settings.cache_clear()


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(f"FRAUDFLOW_{name}", value)
    with pytest.raises(TerminalError) as caught:
        get_settings()
    return str(caught.value)


def test_a_number_out_of_bounds_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(monkeypatch, LOCAL__KAFKA_PORT="99999")
    assert "FRAUDFLOW_LOCAL__KAFKA_PORT" in message
    assert "65535" in message


def test_a_list_that_is_not_json_says_how_to_write_one(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(monkeypatch, HAZELCAST__MEMBERS="host:5701")
    assert "FRAUDFLOW_HAZELCAST__MEMBERS" in message
    assert '["host:5701"]' in message


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN", "SASL_PASSWORD": "s3cret"}, "sasl_username"),
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "sasl_mechanism"),
        ({"SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "u", "SASL_PASSWORD": "s3cret"}, "security_protocol"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CERTIFICATE_LOCATION": "/c.pem"}, "ssl_key_location"),
    ],
)
def test_half_a_login_is_refused(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], missing: str) -> None:
    message = refusal(monkeypatch, **{f"KAFKA__{name}": value for name, value in variables.items()})
    assert "FRAUDFLOW_KAFKA" in message
    assert f"FRAUDFLOW_KAFKA__{missing.upper()}" in message
    assert "s3cret" not in message


def test_a_password_is_not_shown() -> None:
    kafka = KafkaSettings(
        security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="key", sasl_password="s3cret"
    )
    assert "s3cret" not in repr(kafka)
    assert "s3cret" not in kafka.model_dump_json()


@pytest.mark.parametrize(
    ("api", "ui", "pages"),
    [
        ("http://127.0.0.1:4200/api", None, "http://127.0.0.1:4200"),
        ("https://prefect.example.com/x/api/", None, "https://prefect.example.com/x"),
        (
            "https://api.prefect.cloud/api/accounts/a/workspaces/w",
            None,
            "https://app.prefect.cloud/account/a/workspace/w",
        ),
        ("http://prefect:4200/api", "https://prefect.example.com/", "https://prefect.example.com"),
    ],
)
def test_where_people_see_prefects_runs(api: str, ui: str | None, pages: str):
    assert Settings(prefect_api_url=api, prefect_ui_url=ui).prefect_pages == pages


def test_a_time_zone_that_is_none_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(monkeypatch, DASHBOARD__TIME_ZONE="CEST")
    assert "FRAUDFLOW_DASHBOARD__TIME_ZONE" in message
    assert "Europe/Berlin" in message
    monkeypatch.setenv("FRAUDFLOW_DASHBOARD__TIME_ZONE", "Europe/Berlin")
    assert get_settings().dashboard.time_zone == "Europe/Berlin"
