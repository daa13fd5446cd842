"""Flow runs on the local worker: what restarts them, ends them, and tells the dead from the living."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from infra.errors import TerminalError
from infra.local.processes import MARKER
from infra.local.rest import PrefectApi

POOL = "local"
# Of the local pipeline's deployments in prefect.yaml, and their runs; those for AWS have another.
TAG = "fraudflow"
AWS_TAG = "fraudflow-ecs"
LONG_RUNNING = "score"
STARTS_AGAIN = f"fraudflow: {LONG_RUNNING} starts again"

# Prefect's worker gives a cancelled flow 30 s to drain before it kills it, and a few seconds around that.
_CANCEL_SECONDS = 45
_ENDED = ["prefect.flow-run.Completed", "prefect.flow-run.Failed", "prefect.flow-run.Cancelled"]
_CRASHED = "prefect.flow-run.Crashed"
_HEARTBEAT = "prefect.flow-run.heartbeat"
# Five heartbeats: one has 60 s to get into the server's SQLite file, and two in a row were seen to miss it.
_SILENT_SECONDS = 150
_OURS = "Made by `fraudflow up`."


def ensure_pool(api: PrefectApi) -> None:
    """Have the work pool, so that deployments can name it. Its worker fills it in at its first start."""
    found = api.post("/work_pools/filter", {"work_pools": {"name": {"any_": [POOL]}}})
    if not found:
        api.post("/work_pools/", {"name": POOL, "type": "process", "description": "Processes on this machine"})


def ensure_automations(api: PrefectApi) -> list[str]:
    """Have the two automations that start `score` again after it died. Returns the names of those made now.

    Prefect's own retries do not help there: they run inside the process that is dead. Without the first
    automation nobody notices a run whose process and worker died together. It sees only runs that report
    after it was made, so this stands before the first run.
    """
    wanted = [silent_runs_crash()]
    found = api.post("/deployments/filter", {"flows": {"name": {"any_": [LONG_RUNNING]}}})
    wanted += [_dead_runs_start_again(d["id"]) for d in found if d["work_pool_name"] == POOL]
    made = []
    for automation in wanted:
        name = automation["name"]
        present = api.post("/automations/filter", {"automations": {"name": {"any_": [name]}}})
        if not present:
            api.post("/automations/", automation)
            made.append(name)
        elif present[0]["description"] != automation["description"]:
            api.put(f"/automations/{present[0]['id']}", automation)
            made.append(name)
    return made


def sweep(api: PrefectApi, home: Path, *, worker_alive: bool) -> list[str]:
    """Force to CRASHED every run that the server takes for alive and whose process is gone.

    After a reboot such a run would keep its place in the concurrency limit, and no new one would start.
    Returns the names of those runs.
    """
    crashed = []
    for run in live(api):
        pid = run.get("infrastructure_pid")
        # Without a pid the worker was about to start it: the one that runs still may, a dead one will not.
        if (pid and _runs_here(pid, home)) or (not pid and worker_alive):
            continue
        _force(api, run, "CRASHED", "its process was gone when the local stack was started")
        crashed.append(run["name"])
    return crashed


def cancel_all(
    api: PrefectApi, home: Path, *, shared: bool, but: str | None = None, progress: Callable[[str], None]
) -> list[str]:
    """Cancel what waits, then what runs, except `but`, and wait until all of it has drained.

    On a server that is shared with others, only what runs as a process of this stack is ours.

    The order matters twice: a run in the queue would take the place of one that ends, and a worker that is
    stopped before its flows leaves them Running for ever. Returns the names of those that did not end.
    """

    def ours() -> list[dict[str, Any]]:
        return [
            run
            for run in live(api)
            if run["id"] != but and not (shared and not _runs_here(run.get("infrastructure_pid") or "", home))
        ]

    for run in [] if shared else _runs(api, "SCHEDULED", "PAUSED"):
        # Runs that a schedule made in advance are not live: the next `up` goes on with them.
        if not run.get("auto_scheduled"):
            _force(api, run, "CANCELLED", "the local stack goes down")
    cancelled = ours()
    for run in cancelled:
        if run["state"]["type"] != "CANCELLING":
            api.post(
                f"/flow_runs/{run['id']}/set_state",
                {"state": {"type": "CANCELLING", "message": "the local stack goes down"}, "force": False},
            )
    if cancelled:
        progress(f"Cancelling {', '.join(run['name'] for run in cancelled)}")
    deadline = time.monotonic() + _CANCEL_SECONDS
    left = cancelled
    while left and time.monotonic() < deadline:
        time.sleep(0.2)
        left = ours()
    return [run["name"] for run in left]


def end_all(api: PrefectApi) -> None:
    """Force to CANCELLED what is live on the server while its processes are gone for certain."""
    for run in live(api):
        _force(api, run, "CANCELLED", "ended when the local stack went down")


def live(api: PrefectApi) -> list[dict[str, Any]]:
    """The runs of this pool that the server takes for alive."""
    return _runs(api, "RUNNING", "PENDING", "CANCELLING")


def _runs(api: PrefectApi, *states: str) -> list[dict[str, Any]]:
    return api.post(
        "/flow_runs/filter",
        {
            "flow_runs": {"state": {"type": {"any_": list(states)}}},
            "work_pools": {"name": {"any_": [POOL]}},
            "limit": 200,
        },
    )


def _force(api: PrefectApi, run: dict[str, Any], state: str, why: str) -> None:
    result = api.post(f"/flow_runs/{run['id']}/set_state", {"state": {"type": state, "message": why}, "force": True})
    if result["status"] != "ACCEPT":
        raise TerminalError(f"Prefect does not set {run['name']} to {state}: {result['details']}")


def _runs_here(infrastructure_pid: str, home: Path) -> bool:
    """Whether that process lives and is one of this stack: its pid may be somebody else's by now."""
    try:
        process = psutil.Process(int(infrastructure_pid.rpartition(":")[2]))
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARKER) == str(home)
    except (psutil.Error, ValueError):
        return False


def silent_runs_crash() -> dict[str, Any]:
    """The automation that calls runs crashed whose process says nothing any more."""
    return {
        "name": "fraudflow: runs that fell silent have crashed",
        "description": f"{_OURS} No heartbeat of a run with a tag of fraudflow's for {_SILENT_SECONDS} s.",
        "enabled": True,
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
            # A server may be shared, and others have flows named train, whose hearts beat every 180 s.
            "match_related": {
                "prefect.resource.role": "tag",
                "prefect.resource.id": [f"prefect.tag.{tag}" for tag in (TAG, AWS_TAG)],
            },
            "for_each": ["prefect.resource.id"],
            "after": [_HEARTBEAT],
            "expect": [_HEARTBEAT, *_ENDED, _CRASHED],
            "threshold": 1,
            "within": _SILENT_SECONDS,
        },
        "actions": [
            {"type": "change-flow-run-state", "state": "CRASHED", "message": f"no heartbeat for {_SILENT_SECONDS} s"}
        ],
    }


def _dead_runs_start_again(deployment_id: str) -> dict[str, Any]:
    return {
        "name": STARTS_AGAIN,
        "description": f"{_OURS} It starts deployment {deployment_id} again when a run crashed or failed.",
        "enabled": True,
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
            "match_related": {
                "prefect.resource.role": "deployment",
                "prefect.resource.id": f"prefect.deployment.{deployment_id}",
            },
            "expect": [_CRASHED, "prefect.flow-run.Failed"],
            "threshold": 1,
            "within": 0,
        },
        "actions": [
            {
                "type": "run-deployment",
                "source": "selected",
                "deployment_id": deployment_id,
                "parameters": None,
            }
        ],
    }
