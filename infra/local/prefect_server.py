"""Prefect's server, a worker on this machine, and the deployments, all through `python -m prefect`."""

import hashlib
import os
import socket
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from infra.errors import TerminalError
from infra.local import ports, processes, runs
from infra.local.processes import Started, python, run, spawn
from infra.local.rest import PrefectApi
from infra.settings import LocalSettings

SERVER, WORKER = "prefect", "worker"
POOL = runs.POOL

# Where prefect.yaml and the flows lie: the worker imports them from there.
PROJECT = Path(__file__).parents[2]

_DEPLOY_TIMEOUT_SECONDS = 180
_SERVER_ENV = {
    # Leases are kept in the server's memory otherwise, and any restart of it ends `score` within 225 s.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}
_WORKER_COMMAND = f"-m prefect worker start --pool {POOL} --type process --install-policy never".split()
_WORKER_ENV = {
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    # The automation that finds dead runs waits for five of them; of Prefect's own, 180 s, that would be 15 minutes.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "DO_NOT_TRACK": "1",
}


def start_server(local: LocalSettings, home: Path, *, previous: str | None) -> Started:
    """Start the server on a SQLite file in the stack's home; it is not ready yet."""
    before = int(previous.rpartition(":")[2]) if previous else None
    port = ports.choose(local.prefect_port, setting="FRAUDFLOW_LOCAL__PREFECT_PORT", previous=before)
    (home / "prefect").mkdir(parents=True, exist_ok=True)
    return spawn(
        SERVER,
        python("-m", "prefect", "server", "start", "--host", ports.HOST, "--port", str(port)),
        home=home,
        address=f"{ports.HOST}:{port}",
        env=_own_prefect(home) | _SERVER_ENV | _only_our_pages(port),
    )


def _only_our_pages(port: int) -> dict[str, str]:
    """Prefect lets the scripts of every web site call it; whoever can call it can run code here."""
    origins = ",".join(f"http://{host}:{port}" for host in (ports.HOST, "localhost"))
    return {"PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origins}


def start_worker(api_url: str, home: Path, *, own_server: bool) -> Started:
    """Start the worker of the pool; it is not ready yet."""
    return spawn(
        WORKER,
        python(*_WORKER_COMMAND, "--name", worker_name(home)),
        home=home,
        address=api_url,
        env=client_env(api_url, home, own_server=own_server) | _WORKER_ENV,
        cwd=PROJECT,
    )


def same_settings(worker: Started, api_url: str, home: Path, *, own_server: bool) -> bool:
    """Whether the worker was started with the settings that our environment has now."""
    process = processes.find(worker, home)
    if process is None:
        return False
    ours = client_env(api_url, home, own_server=own_server)
    return _settings_in(process.environ()) == _settings_in(ours)


def _settings_in(environment: Mapping[str, str]) -> dict[str, str]:
    return {n: v for n, v in environment.items() if n.startswith("FRAUDFLOW_") and n != processes.MARKER}


def worker_name(home: Path) -> str:
    """The same at each start, and another one for each stack: the server then lists one row per stack."""
    return f"{socket.gethostname()}-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"


def worker_answers(api_url: str, home: Path, since: float) -> bool:
    """Whether the worker has reported to the server after that moment."""
    for worker in PrefectApi(api_url).post(f"/work_pools/{POOL}/workers/filter", {}):
        if worker["name"] == worker_name(home) and worker["last_heartbeat_time"]:
            return datetime.fromisoformat(worker["last_heartbeat_time"]) >= datetime.fromtimestamp(since, UTC)
    return False


def deploy(api_url: str, home: Path, *, own_server: bool) -> bool:
    """Register the deployments of prefect.yaml, if there is one and just these are not there already.

    A schedule that was switched on or off since then stays so: Prefect would set it back, and with it the one that
    ends a forgotten stack on AWS.

    Raises:
        TerminalError: Prefect refuses them.
    """
    if not (PROJECT / "prefect.yaml").exists():
        return False
    done = home / "prefect" / "deployed"
    done.parent.mkdir(parents=True, exist_ok=True)
    content = _fingerprint(api_url if not own_server else "")
    api = PrefectApi(api_url)
    # Teardown deletes them; it does not know this file.
    there = api.post("/deployments/filter", {"deployments": {"tags": {"all_": [runs.TAG]}}, "limit": 1})
    if there and done.exists() and done.read_text() == content:
        return False
    before = _switches(api)
    try:
        result = run(
            python("-m", "prefect", "--no-prompt", "deploy", "--all"),
            home=home,
            # prefect.yaml has the flows start in this folder.
            env=client_env(api_url, home, own_server=own_server) | {"PROJECT_DIR": str(PROJECT)},
            seconds=_DEPLOY_TIMEOUT_SECONDS,
            cwd=PROJECT,
        )
    except subprocess.TimeoutExpired as error:
        raise TerminalError(f"`prefect deploy --all` did not end within {_DEPLOY_TIMEOUT_SECONDS} s") from error
    if result.returncode:
        raise TerminalError(
            f"`prefect deploy --all` in {PROJECT} failed:\n{(result.stdout + result.stderr).strip()[-2000:]}"
        )
    for (deployment, slug), (schedule, active) in _switches(api).items():
        _, was = before.get((deployment, slug), (schedule, active))
        if was != active:
            api.patch(f"/deployments/{deployment}/schedules/{schedule}", {"active": was})
    done.write_text(content)
    return True


def _switches(api: PrefectApi) -> dict[tuple[str, str], tuple[str, bool]]:
    """Of each schedule in the pool, by its deployment's id and its slug: its id, and whether it is on."""
    found = api.post("/deployments/filter", {"work_pools": {"name": {"any_": [POOL]}}})
    return {(d["id"], s["slug"]): (s["id"], s["active"]) for d in found for s in d["schedules"]}


def client_env(api_url: str, home: Path, *, own_server: bool) -> dict[str, str]:
    """The environment of a process that talks to the server and finds this stack's addresses."""
    base = _own_prefect(home) if own_server else dict(os.environ)
    return base | {"PREFECT_API_URL": api_url, "FRAUDFLOW_LOCAL__HOME": str(home)}


def _own_prefect(home: Path) -> dict[str, str]:
    """Our environment, without what would lead to a person's other Prefect: profile, database, login."""
    foreign = {"PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"}
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in foreign and not name.startswith("PREFECT__") and "DATABASE" not in name
    }
    login = env.get("PREFECT_SERVER_API_AUTH_STRING")
    env["PREFECT_HOME"] = str(home / "prefect")
    if login:
        env["PREFECT_API_AUTH_STRING"] = login
    return env


def _fingerprint(api_url: str) -> str:
    """Changes whenever a deployment could: with prefect.yaml, the flows, and the folder they lie in."""
    digest = hashlib.sha256(f"{api_url}\n{PROJECT}\n".encode())
    for path in [PROJECT / "prefect.yaml", *sorted((PROJECT / "flows").rglob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()
