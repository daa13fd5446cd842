"""The steps that take the pipeline out of Kafka, Hazelcast and Prefect, and the look that nothing is left."""

import time
from collections.abc import Sequence
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterParentTaskRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.runtime import flow_run
from prefect.states import Cancelling

from infra.errors import TransientError
from infra.feature_store import FeatureStore
from infra.hazelcast import PROJECTED, connect
from infra.kafka import delete_topics, group_members, partitions
from infra.local.runs import STARTS_AGAIN, TAG
from infra.projection import Projection
from infra.settings import get_settings
from tasks.retry import transient_only

POLL_SECONDS = 0.5
_SCORING = ["score", "pipeline"]
_STARTED = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_LIVE = [StateType.SCHEDULED, *_STARTED]


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def stop_runs(everything: bool, timeout_seconds: float = 60) -> int:
    """Cancel the runs that score, and wait until they have ended and the consumer group is empty.

    Runs of flows of the same name that are not of this project's deployments go on: a server may be shared.
    A run can be shown as cancelled while its process goes on, so the group is asked too.

    Args:
        everything: whatever else runs, too, but for the run that this is a part of. A run that is still on its way when
            its deployment is deleted cannot end any more: Prefect cannot give its place back to a limit that is gone.
        timeout_seconds: for them to end.

    Returns:
        The number of runs that were cancelled. One that does not end in time is found by `left_over`.

    Raises:
        TransientError: somebody still scores.
    """
    settings = get_settings()
    with get_client(sync_client=True) as client:
        runs = _live_runs(client, everything)
        for run in runs:
            client.set_flow_run_state(run.id, Cancelling(), force=False)
        deadline = time.monotonic() + timeout_seconds
        while (members := group_members(settings.kafka, settings.scoring.group_id)) or _live_runs(client, everything):
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
    if members:
        raise TransientError(
            f"{members} scorers are still in group {settings.scoring.group_id}: stop them where they run"
        )
    return len(runs)


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def remove_from_hazelcast() -> list[str]:
    """Drop the projection's jobs and mappings and empty its maps and those of the features."""
    settings = get_settings()
    client = connect(settings.hazelcast)
    try:
        store = FeatureStore(client)
        manifest = store.read_manifest()
        store.clear()  # first: where somebody loads, this is tried again, and would find the rest gone
        projection = Projection(client, settings)
        removed = [f"job {job}" for job in projection.drop()]
        counts = {name: client.get_map(name).size().result() for name in PROJECTED}
        projection.clear()
        removed += [f"{count:,} entries of {name}" for name, count in counts.items() if count]
        return removed + ([f"features {manifest.version}"] if manifest else [])
    finally:
        client.shutdown()


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def remove_topics(names: Sequence[str]) -> list[str]:
    """Delete the topics that were asked for by name."""
    return [f"topic {name}" for name in delete_topics(get_settings().kafka, names)]


@task(cache_policy=NO_CACHE)
def remove_deployments() -> list[str]:
    """Delete the local pipeline's deployments, and the automation that starts one of them again.

    The history of the runs stays, and so do the deployments for AWS and the work pool that they run in: one of them
    tears down what is forgotten there.
    """
    with get_client(sync_client=True) as client:
        automations = client.read_automations_by_name(STARTS_AGAIN)
        for automation in automations:
            client.delete_automation(automation.id)
        deployments = _deployments(client)
        for deployment in deployments:
            client.delete_deployment(deployment.id)
    removed = [f"automation {automation.name}" for automation in automations]
    return removed + [f"deployment {deployment.name} ({deployment.entrypoint})" for deployment in deployments]


@task(cache_policy=NO_CACHE)
def left_over(topics: Sequence[str], deployments: bool) -> list[str]:
    """Look at each system itself for what should be gone; what is found, in words."""
    settings = get_settings()
    found = [f"topic {name}" for name in topics if name in partitions(settings.kafka)]
    client = connect(settings.hazelcast)
    try:
        found += [f"job {job}" for job in Projection(client, settings).jobs()]
        found += [name for name in PROJECTED if client.get_map(name).size().result()]
        if not FeatureStore(client).is_empty():
            found.append("features")
    finally:
        client.shutdown()
    with get_client(sync_client=True) as prefect:
        found += [f"run {run.name}" for run in _live_runs(prefect, everything=deployments)]
        if deployments:
            found += [f"deployment {deployment.name}" for deployment in _deployments(prefect)]
            found += [f"automation {automation.name}" for automation in prefect.read_automations_by_name(STARTS_AGAIN)]
    return found


def _deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    return client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])))


def _live_runs(client: SyncPrefectClient, everything: bool) -> list[FlowRun]:
    """The runs of this project that score, and those that they call; or all that run but this one."""
    # A run has its deployment's tags, and keeps them when the deployment is gone; one that it calls is given them.
    ours = FlowRunFilterTags(all_=[TAG])
    scoring = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=_SCORING)),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_LIVE)), tags=ours),
    )
    if not everything:
        return scoring
    known = {run.id for run in scoring} | {UUID(str(flow_run.id))}
    # What is only scheduled goes with its deployment, and what is called ends with its caller.
    others = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_STARTED)),
            tags=ours,
            parent_task_run_id=FlowRunFilterParentTaskRunId(is_null_=True),
        ),
    )
    return scoring + [run for run in others if run.id not in known]
