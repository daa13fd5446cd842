"""The dashboard as a process: a Streamlit server on the app that lies in the room `dashboard`."""

import importlib.util
import os
import urllib.error
import urllib.request
from pathlib import Path

from infra.local import ports
from infra.local.processes import Started, python, spawn
from infra.settings import DashboardSettings, Settings

NAME = "dashboard"
_ALL_INTERFACES = {"0.0.0.0", "::"}  # noqa: S104 - it says what they mean, and listens on none
APP = Path(__file__).parents[2] / "dashboard" / "server.py"


def installed() -> bool:
    """Whether the extra `dashboard` is."""
    return importlib.util.find_spec("streamlit") is not None


def arguments(settings: DashboardSettings, port: int) -> list[str]:
    """Of the Python interpreter. Look and feel are in dashboard/.streamlit/config.toml."""
    return [
        *("-m", "streamlit", "run", str(APP)),
        *("--server.address", settings.address),
        *("--server.port", str(port)),
        *(("--secrets.files", str(settings.secrets.expanduser().resolve())) if settings.secrets else ()),
    ]


def start(settings: Settings, home: Path, *, previous: str | None) -> Started:
    """Start it; it is not ready yet."""
    before = int(previous.rpartition(":")[2]) if previous else None
    port = ports.choose(settings.local.dashboard_port, setting="FRAUDFLOW_LOCAL__DASHBOARD_PORT", previous=before)
    address = f"{_host(settings.dashboard.address)}:{port}"
    return spawn(
        NAME,
        python(*arguments(settings.dashboard, port)),
        home=home,
        address=address,
        # It reads its settings at its start, before the stack can write the address down; yours goes first.
        env={"FRAUDFLOW_DASHBOARD_URL": settings.dashboard_url or url(address)} | environment(home),
        cwd=APP.parents[1],
    )


def _host(interface: str) -> str:
    """How a server that listens there is reached from this machine."""
    if interface in _ALL_INTERFACES:
        return ports.HOST
    return f"[{interface}]" if ":" in interface else interface


def environment(home: Path) -> dict[str, str]:
    """Ours, and where the stack is whose addresses it shall use."""
    return {**os.environ, "FRAUDFLOW_LOCAL__HOME": str(home)}


def answers(address: str) -> bool:
    """Whether it serves pages."""
    try:
        with urllib.request.urlopen(f"http://{address}/_stcore/health", timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def url(address: str) -> str:
    """What to open in a browser."""
    return f"http://{address}"
