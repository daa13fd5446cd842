"""The steps of an ECS stack that are Prefect's: its work pool, the deployments in it, the runs, the expiry guard."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling

from infra.aws.containers import FLOWS, prefect_api_url, work_pool
from infra.aws.plan import private_subnets
from infra.aws.work_pool import base_job_template
from infra.errors import TerminalError
from tasks.aws import the_stack

PROJECT = Path(__file__).parents[1]
DEPLOYMENTS = "prefect-ecs.yaml"
# What tears down the forgotten, what sees that tasks die, and what scales by lag if somebody switches it on.
EXPIRE, WATCH, SCALE = "expire/ecs", "watch/ecs", "scale/ecs"
# Prefect gives a cancelled run 30 s; then its task is stopped.
DRAIN_SECONDS = 45.0
_POLL_SECONDS = 0.5
_DEPLOY_TIMEOUT_SECONDS = 180
_LIVE = [StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED, StateType.PAUSED, StateType.CANCELLING]


@task(cache_policy=NO_CACHE)
def provide_work_pool(ids: dict[str, str]) -> str:
    """Have the work pool whose runs are tasks of the stack. Returns its name."""
    stack = the_stack()
    name, group = work_pool(stack), ids[f"security group/{FLOWS}"]
    template = base_job_template(stack, private_subnets(stack, ids), group, ids.get("secret/prefect"))
    with get_client(sync_client=True) as client:
        try:
            present = client.read_work_pool(name)
        except ObjectNotFound:
            client.create_work_pool(
                WorkPoolCreate(
                    name=name, type="ecs", description=f"ECS, stack {stack.name}", base_job_template=template
                )
            )
        else:
            if present.base_job_template != template:
                client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
        here = client.api_url
    get_run_logger().info("work pool %s is on Prefect at %s; tasks ask %s for it", name, here, prefect_api_url(stack))
    return name


@task(cache_policy=NO_CACHE)
def deploy_flows(pool: str) -> list[str]:
    """Register the deployments whose flows run in the VPC, unless Prefect has them as they are. Returns their names.

    Raises:
        TerminalError: Prefect refuses them.
    """
    version, wanted = _version(pool)
    with get_client(sync_client=True) as client:
        present = client.read_deployments(work_pool_filter=_pool_filter(pool))
    if sorted(one.name for one in present if one.version == version) == wanted:
        return wanted
    try:
        result = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", DEPLOYMENTS],
            cwd=PROJECT,
            env=os.environ | {"FRAUDFLOW_WORK_POOL": pool, "FRAUDFLOW_DEPLOYMENT_VERSION": version},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DEPLOY_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TerminalError(
            f"`prefect deploy` of {DEPLOYMENTS} did not end within {_DEPLOY_TIMEOUT_SECONDS} s"
        ) from error
    if result.returncode:
        raise TerminalError(f"Prefect refuses {DEPLOYMENTS}:\n{(result.stdout + result.stderr).strip()[-2000:]}")
    return wanted


def _version(pool: str) -> tuple[str, list[str]]:
    """A digest of all that a registration says (the file, the signatures of its flows, the pool), and the names."""
    text = (PROJECT / DEPLOYMENTS).read_text()
    deployments = yaml.safe_load(text)["deployments"]
    flows = [(PROJECT / one["entrypoint"].partition(":")[0]).read_text() for one in deployments]
    digest = hashlib.sha256("\0".join([pool, text, *flows]).encode()).hexdigest()[:16]
    return digest, sorted(one["name"] for one in deployments)


@task(cache_policy=NO_CACHE)
def set_schedules(deployments: Sequence[str], active: bool) -> None:
    """Switch the schedules of these deployments on, or off.

    They are off while there is no stack, so that a Prefect without AWS never asks AWS.

    Raises:
        TerminalError: one is to be switched on, and there is no such deployment.
    """
    with get_client(sync_client=True) as client:
        for name in deployments:
            try:
                deployment = client.read_deployment_by_name(name)
            except ObjectNotFound as error:
                if not active:
                    continue
                raise TerminalError(f"Prefect has no deployment {name}: run `fraudflow up`") from error
            for schedule in deployment.schedules:
                if schedule.active != active:
                    client.update_deployment_schedule(deployment.id, schedule.id, active=active)


@task(cache_policy=NO_CACHE)
def stop_flow_runs(stack_name: str) -> list[str]:
    """Cancel the runs in the stack's work pool and give those that run the time to end. Returns their names.

    What Prefect then says of them proves nothing about their tasks: those are stopped and looked at on ECS.
    """
    pool = work_pool(the_stack(stack_name))
    with get_client(sync_client=True) as client:
        runs = _live(client, pool)
        for run in runs:
            started = run.state is not None and run.state.type in {StateType.RUNNING, StateType.CANCELLING}
            client.set_flow_run_state(run.id, Cancelling() if started else Cancelled(), force=True)
        deadline = time.monotonic() + DRAIN_SECONDS
        while (left := _live(client, pool)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        for run in left:
            client.set_flow_run_state(run.id, Cancelled(message="its task is being stopped"), force=True)
    return [run.name for run in runs]


@task(cache_policy=NO_CACHE)
def remove_work_pool(stack_name: str) -> list[str]:
    """Delete the work pool and its deployments. Returns what was deleted; the history of runs stays."""
    pool = work_pool(the_stack(stack_name))
    removed = []
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments(work_pool_filter=_pool_filter(pool)):
            client.delete_deployment(deployment.id)
            removed.append(f"deployment {deployment.name} ({deployment.entrypoint})")
        try:
            client.delete_work_pool(pool)
        except ObjectNotFound:
            return removed
    return [*removed, f"work pool {pool}"]


def _live(client: SyncPrefectClient, pool: str) -> list[FlowRun]:
    return client.read_flow_runs(
        work_pool_filter=_pool_filter(pool),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_LIVE))),
    )


def _pool_filter(pool: str) -> WorkPoolFilter:
    return WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
