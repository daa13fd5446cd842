"""What the local stack asks a Prefect server, over plain HTTP: this room knows no Prefect."""

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

from infra.errors import TerminalError, TransientError, passes

# On SQLite the server itself waits 60 s for its file, and then tells.
_TIMEOUT_SECONDS = 75
# A server on SQLite says 503 while somebody else writes, as it does itself for some seconds after its start.
_BUSY = {429, 503}
_ATTEMPTS = 10


class _BusyError(TransientError):
    """The server did nothing of what it was asked, and asks for another try."""


class PrefectApi:
    """A Prefect server's REST API."""

    def __init__(self, url: str):
        """Args: `url` ends in /api. The login comes from Prefect's own environment variables."""
        self.url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        login = os.environ.get("PREFECT_API_AUTH_STRING") or os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
        if key := os.environ.get("PREFECT_API_KEY"):
            self._headers["Authorization"] = f"Bearer {key}"
        elif login:
            self._headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"

    def healthy(self) -> bool:
        """Whether the server answers."""
        try:
            self._once("GET", "/health", None, timeout=3)
        except TransientError:
            return False
        return True

    def get(self, path: str) -> Any:
        """What the server says."""
        return self._send("GET", path, None)

    def post(self, path: str, body: Any) -> Any:
        """What the server says to that."""
        return self._send("POST", path, body)

    def put(self, path: str, body: Any) -> Any:
        """What the server says to that."""
        return self._send("PUT", path, body)

    def patch(self, path: str, body: Any) -> Any:
        """What the server says to that."""
        return self._send("PATCH", path, body)

    def _send(self, method: str, path: str, body: Any) -> Any:
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._once(method, path, body)
            except _BusyError:
                time.sleep(0.5)
        return self._once(method, path, body)

    def _once(self, method: str, path: str, body: Any, timeout: float = _TIMEOUT_SECONDS) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the address is the operator's own
            f"{self.url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers=self._headers,
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
                content = response.read()
                return json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:1000]
            if passes(error.code):
                kind = _BusyError if error.code in _BUSY else TransientError
                raise kind(f"Prefect: {method} {self.url}{path}: {error.code} {said}") from error
            hint = ". Set PREFECT_API_AUTH_STRING as the server has it" if error.code == 401 else ""
            raise TerminalError(f"Prefect: {method} {self.url}{path}: {error.code} {said}{hint}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise TransientError(f"Prefect at {self.url} does not answer: {error}") from error
