"""The endpoint of a scorer that lives for weeks."""

import socket
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest

from infra.settings import ScoringSettings
from scoring.health import HealthServer


def test_a_connection_that_asks_nothing_is_closed(monkeypatch: pytest.MonkeyPatch):
    server = HealthServer(ScoringSettings(), "0", Mock(report=lambda: {"ok": True}))
    handler = server._server.RequestHandlerClass
    assert handler.timeout, "otherwise it would hold a thread for ever"
    monkeypatch.setattr(handler, "timeout", 0.1)
    try:
        with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port), 60) as silent:
            assert silent.recv(1) == b""
    finally:
        server.stop()
