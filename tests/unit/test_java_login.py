"""What of a login Java cannot use is told before it is tried."""

from pathlib import Path

import pytest

from infra.errors import TerminalError
from infra.projection import java_login
from infra.settings import KafkaSettings


def settings(tmp_path: Path, key: str | None) -> KafkaSettings:
    (tmp_path / "client.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    if key:
        (tmp_path / "client.key").write_text(f"-----BEGIN {key}-----\n")
    return KafkaSettings(
        security_protocol="SSL",
        ssl_certificate_location=tmp_path / "client.pem",
        ssl_key_location=tmp_path / "client.key",
    )


@pytest.mark.parametrize("kind", ["RSA PRIVATE KEY", "EC PRIVATE KEY"])
def test_a_key_of_openssl_says_how_to_turn_it_into_one_of_java(tmp_path: Path, kind: str) -> None:
    with pytest.raises(TerminalError, match="openssl pkcs8 -topk8"):
        java_login(settings(tmp_path, kind))


@pytest.mark.parametrize("kind", ["PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])
def test_a_key_of_java_is_passed_on(tmp_path: Path, kind: str) -> None:
    assert kind in java_login(settings(tmp_path, kind))["ssl.keystore.key"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TerminalError, match=r"client\.key.*FRAUDFLOW_KAFKA__SSL"):
        java_login(settings(tmp_path, None))
