"""Prefect's worker as ECS would start it: it starts flow runs in the VPC, and hears of it when their tasks die."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import pytest
from hazelcast.client import HazelcastClient
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from flows.provision_ecs import provision_ecs
from flows.teardown_ecs import teardown_ecs
from infra.aws import containers, plan
from infra.aws.containers import FLOWS, WORKER
from infra.aws.kinds import kind
from infra.aws.stack import Stack
from infra.feature_store import FeatureStore
from infra.local import ports
from infra.settings import Settings
from simulator.population import simulate_population, write_population
from tasks import aws_prefect
from tests.aws.conftest import REGION, SECRET_WORDS, Calls, Ids
from tests.conftest import PROJECT
from tests.waiting import until

pytestmark = [pytest.mark.server, pytest.mark.slow]


def _container(stack: Stack, role: str) -> dict[str, Any]:
    return plan.definition(stack, Ids(stack), role)["containerDefinitions"][0]


def _variables(container: Mapping[str, Any], others: Mapping[str, str]) -> dict[str, str]:
    """What the container has: its environment, its secrets, and what is another address here."""
    variables = {entry["name"]: entry["value"] for entry in container["environment"]}
    # Nobody here asks for them; the worker must not pass them on all the same.
    variables |= {entry["name"]: "admin:prefect-secret-word" for entry in container["secrets"]}
    variables |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return variables | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | {**others}


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project as the image has it, in another place than /app."""
    folder = tmp_path / "app"
    folder.mkdir()
    for room in (
        "cli",
        "dashboard",
        "flows",
        "infra",
        "monitoring",
        "scoring",
        "simulator",
        "tasks",
        "training",
        "verify",
    ):
        (folder / room).symlink_to(PROJECT / room)
    deployments = (PROJECT / aws_prefect.DEPLOYMENTS).read_text()
    assert "directory: /app " in deployments
    (folder / aws_prefect.DEPLOYMENTS).write_text(deployments.replace("directory: /app ", f"directory: {folder} "))
    monkeypatch.setattr(aws_prefect, "PROJECT", folder)
    return folder


@contextmanager
def _worker(stack: Stack, home: Path) -> Iterator[None]:
    container = _container(stack, WORKER)
    here = {
        "HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": os.environ["PREFECT_API_URL"],
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_WEBSERVER_PORT": str(ports.choose(0, setting="")),
    }
    with (home / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            container["command"], env=_variables(container, here), cwd=home, stdout=log, stderr=log
        )
    try:
        yield
        assert process.poll() is None, (home / "worker.log").read_text()
    finally:
        process.terminate()
        process.wait(container["stopTimeout"])


def _start(name: str = "load-features/ecs", **parameters: Any) -> UUID:
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(name)
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id


def _run(run: UUID) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run)


def _task_of(stack: Stack, run: UUID) -> dict[str, Any]:
    """The task that the worker started for a run."""
    ecs = stack.api("ecs")

    def found() -> dict[str, Any] | None:
        arns = ecs.list_tasks(cluster=stack.prefix, family=containers.family(stack, FLOWS))["taskArns"]
        tasks = ecs.describe_tasks(cluster=stack.prefix, tasks=arns, include=["TAGS"])["tasks"] if arns else []
        tagged = {"key": "prefect.io/flow-run-id", "value": str(run)}
        return next((task for task in tasks if tagged in task["tags"]), None)

    return until(found, what="a task for the run")


@pytest.mark.usefixtures("prefect_home")
def test_flow_runs_are_tasks_in_the_vpc(
    aws: Calls,
    ecs_settings: Settings,
    servers: Settings,
    client: HazelcastClient,
    image: Path,
    tmp_path: Path,
) -> None:
    stack = Stack.of(ecs_settings)
    ids = provision_ecs(topics=False)["ids"]
    bucket, s3 = ids["bucket/files"], boto3.client("s3", REGION)
    s3.delete_bucket_policy(Bucket=bucket)  # it asks for TLS, which simulated AWS does not speak
    write_population(simulate_population(200, 20, 1), tmp_path / "data")
    for file in (tmp_path / "data").rglob("*.*"):
        s3.upload_file(str(file), bucket, f"data/{file.relative_to(tmp_path / 'data')}")

    with _worker(stack, tmp_path):
        run = _start(data=f"s3://{bucket}/data")
        task = _task_of(stack, run)
        assert {"key": "fraudflow:stack", "value": "dev"} in task["tags"], "so that a teardown finds it"
        assert task["launchType"] == "FARGATE"
        until(lambda: _run(run).infrastructure_pid == f"{stack.prefix}::{task['taskArn']}")

        (override,) = task["overrides"]["containerOverrides"]
        given = {entry["name"]: entry["value"] for entry in override["environment"]}
        assert not any(word in json.dumps(task, default=str) for word in SECRET_WORDS), (
            "whoever may describe it reads it"
        )
        assert not {"PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"} & set(given)

        _as_ecs_would(stack, run, task, image, tmp_path, servers)
        manifest = FeatureStore(client).read_manifest()
        assert manifest
        assert manifest.source == f"s3://{bucket}/data"

        watching = _start("monitor/ecs")
        _as_ecs_would(stack, watching, _task_of(stack, watching), image, tmp_path, servers)

        dead = _start(data=f"s3://{bucket}/data")
        _dies(stack, _task_of(stack, dead))
        until(lambda: (state := _run(dead).state) and state.is_crashed(), what="Prefect's word for a dead task")

        forgotten = _start(data=f"s3://{bucket}/data")
        running = _task_of(stack, forgotten)
        _let_interfaces_go(stack)
        assert teardown_ecs()["runs_cancelled"] >= 1  # other tests may have left runs of the same pool
        state = _run(forgotten).state
        assert state
        assert state.is_cancelled()
        assert not kind("task").exists(stack, running["taskArn"]), "cancelled or not, a task costs until it is stopped"


def _as_ecs_would(stack: Stack, run: UUID, task: Mapping[str, Any], image: Path, home: Path, servers: Settings) -> None:
    """Start what the task says, with this machine's Kafka and Hazelcast, and see the run complete."""
    (override,) = task["overrides"]["containerOverrides"]
    given = {entry["name"]: entry["value"] for entry in override["environment"]}
    here = given | {
        "HOME": str(home),
        "PREFECT_HOME": str(home / "flow"),
        "FRAUDFLOW_LOCAL__HOME": str(home / "fraudflow"),
        "FRAUDFLOW_HAZELCAST__MEMBERS": json.dumps(servers.hazelcast.members),
    }
    there = _variables(_container(stack, FLOWS), here)
    environ = {name: value for name, value in there.items() if not name.startswith("FRAUDFLOW_KAFKA__")}
    environ["FRAUDFLOW_KAFKA__BOOTSTRAP_SERVERS"] = str(servers.kafka.bootstrap_servers)
    done = subprocess.run(
        override["command"], env=environ, cwd=image, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    state = _run(run).state
    assert state
    assert state.is_completed(), done.stdout + done.stderr


def _let_interfaces_go(stack: Stack) -> None:
    """AWS does so when their tasks have stopped, and simulated AWS never."""
    ec2 = stack.api("ec2")
    for interface in ec2.describe_network_interfaces()["NetworkInterfaces"]:
        ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])


def _dies(stack: Stack, task: Mapping[str, Any]) -> None:
    """ECS says so on its event bus; the stack's rule brings it to the worker's queue."""
    detail = {
        "taskArn": task["taskArn"],
        "clusterArn": task["clusterArn"],
        "taskDefinitionArn": task["taskDefinitionArn"],
        "lastStatus": "STOPPED",
        "stoppedReason": "Essential container in task exited",
        "containers": [{"name": "prefect", "exitCode": 137, "reason": "OutOfMemoryError: container killed"}],
    }
    event = {"Source": "aws.ecs", "DetailType": "ECS Task State Change", "Detail": json.dumps(detail)}
    other = detail | {"clusterArn": task["clusterArn"] + "-of-others", "taskArn": str(uuid.uuid4())}
    stack.api("events").put_events(Entries=[event, event | {"Detail": json.dumps(other)}])
