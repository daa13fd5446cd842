"""The deployments as a person runs them: a real Prefect server, a real worker, the command lines of both."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.feature_store import FeatureStore
from infra.hazelcast import CUSTOMERS, MANIFEST, PREDICTIONS, connect
from infra.kafka import group_members, partitions
from infra.local import stack
from infra.local.registry import Registry
from infra.local.rest import PrefectApi
from infra.local.runs import STARTS_AGAIN, TAG, silent_runs_crash
from infra.seeding import seed
from infra.settings import Settings
from infra.transaction_sources import FrameSource
from scoring.feature_files import read_feature_files
from simulator.population import simulate_population, write_population
from simulator.transactions import Simulation
from tests.conftest import PROJECT, environment, running
from tests.integration.scored import drain
from tests.kafka_log import values
from tests.waiting import until
from verify.verification import Options, verify

pytestmark = pytest.mark.server

RUN_SECONDS = 300
SILENT = silent_runs_crash()["name"]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with running(tmp_path_factory.mktemp("up"), stack.SERVICES) as settings:
        yield settings


@pytest.fixture(scope="module")
def api(up: Settings) -> PrefectApi:
    return PrefectApi(str(up.prefect_api_url))


@pytest.fixture(scope="module")
def command(up: Settings) -> Callable[..., str]:
    """Runs a command line of this project or of Prefect; what it prints."""
    env = os.environ | environment(Settings(local=up.local)) | {"PREFECT_API_URL": str(up.prefect_api_url)}

    def run(*arguments: str, ok: bool = True) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env=env,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done.stdout if ok else done.stderr

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    write_population(simulate_population(500, 50, 1), directory)
    return directory


@pytest.fixture(scope="module")
def deployment(api: PrefectApi) -> Callable[..., str]:
    """Starts a run of a deployment; its id."""

    def start(name: str, **parameters: object) -> str:
        known = api.get(f"/deployments/name/{name}")
        return api.post(f"/deployments/{known['id']}/create_flow_run", {"parameters": parameters})["id"]

    return start


@pytest.fixture(scope="module")
def typed_deployment(command, api: PrefectApi) -> Callable[..., str]:
    """The same by Prefect's command line, which takes some seconds longer."""

    def start(name: str, **parameters: object) -> str:
        given = [f"--param={key}={json.dumps(value)}" for key, value in parameters.items()]
        before = {run["id"] for run in runs_of(api, name)}
        command("prefect", "deployment", "run", name, *given)
        (new,) = {run["id"] for run in runs_of(api, name)} - before
        return new

    return start


def runs_of(api: PrefectApi, name: str) -> list[dict[str, Any]]:
    flow, deployment = name.split("/")
    filters = {
        "flows": {"name": {"any_": [flow]}},
        "deployments": {"name": {"any_": [deployment]}},
        "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}},
    }
    started = api.post("/flow_runs/filter", filters | {"limit": 100})
    filters["flow_runs"] = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    waiting = api.post("/flow_runs/filter", filters | {"limit": 100})
    return started + [run for run in waiting if not run["auto_scheduled"]]


def ended(api: PrefectApi, run: str) -> dict[str, Any]:
    """The run when it is over."""
    over = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    until(lambda: api.get(f"/flow_runs/{run}")["state_type"] in over, RUN_SECONDS, "the run's end")
    return api.get(f"/flow_runs/{run}")


def task_runs(api: PrefectApi, run: str) -> dict[str, dict[str, Any]]:
    found = api.post("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    return {task["name"].rpartition("-")[0]: task for task in found}


def task_run(api: PrefectApi, run: str, name: str, state: str) -> dict[str, Any]:
    """A task's run once it is in that state: Prefect's server hears of tasks later than of their flow's end."""
    until(lambda: task_runs(api, run).get(name, {}).get("state_type") == state, what=f"{name} to be {state}")
    return task_runs(api, run)[name]


def artifact(api: PrefectApi, key: str) -> str:
    return api.get(f"/artifacts/{key}/latest")["data"]


def load(settings: Settings, data: Path) -> None:
    client = connect(settings.hazelcast)
    FeatureStore(client).load(read_feature_files(data))
    client.shutdown()


def scoring_run(api: PrefectApi) -> str | None:
    """The run of score/local that is live."""
    live = [run["id"] for run in runs_of(api, "score/local") if run["state_type"] == "RUNNING"]
    return live[0] if live else None


def process_of_run(api: PrefectApi, run: str) -> psutil.Process:
    return psutil.Process(int(api.get(f"/flow_runs/{run}")["infrastructure_pid"].rpartition(":")[2]))


def process_of_service(settings: Settings, name: str) -> psutil.Process:
    started = Registry(settings.local.home).alive(name)
    assert started is not None
    return psutil.Process(started.pid)


def scorers(settings: Settings) -> int:
    """How many there are in the group."""
    return group_members(settings.kafka, settings.scoring.group_id)


def test_one_command_runs_the_pipeline_and_tells_what_came_of_it(command, api: PrefectApi, data: Path):
    summary = json.loads(command("cli.main", "run", "--data", str(data), "--count", "3000", "--json"))
    assert summary["transactions"] == summary["predictions"] == summary["projected"] == 3_000
    assert summary["dead_letters"] == 0
    assert 0 < summary["known_fraud_found"] <= summary["known_fraud"] == 15
    assert summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert summary["seconds"] > 0
    assert summary["transactions_per_second"] > 0
    run = api.get(f"/flow_runs/{summary['run_url'].rpartition('/')[2]}")
    assert run["state_type"] == "COMPLETED"
    subflows = api.post(
        "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}, "sort": "START_TIME_ASC"}
    )
    names = [api.get(f"/flows/{child['flow_id']}")["name"] for child in subflows]
    assert names == ["provision", "load-features", "seed-transactions", "score", "project"]
    assert {child["state_type"] for child in subflows} == {"COMPLETED"}
    assert all(TAG in child["tags"] for child in subflows), "one that falls silent would be missed"
    assert "3,000 predictions from 3,000 transactions" in artifact(api, "pipeline")


def test_each_step_is_a_deployment_of_its_own(up: Settings, api: PrefectApi, typed_deployment, deployment, data: Path):
    before = len(values(up.kafka, up.kafka.topics.predictions))
    for name, parameters in {
        "provision/local": {},
        "load-features/local": {"data": str(data)},
        "seed-transactions/local": {"data": str(data), "count": 700, "seed": 2},
        "score/local": {"until_drained": True, "processes": 1},
    }.items():
        start = typed_deployment if name == "load-features/local" else deployment
        run = ended(api, start(name, **parameters))
        assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert len(values(up.kafka, up.kafka.topics.predictions)) == before + 700
    assert "| predictions | 700 |" in artifact(api, "scoring")
    assert "unchanged, nothing to load" in artifact(api, "load-features")


def test_a_transient_error_is_retried_and_a_bad_file_is_not(
    up: Settings, api: PrefectApi, deployment, data: Path, tmp_path: Path
):
    client = connect(up.hazelcast)
    try:
        client.get_map(MANIFEST).blocking().lock("loading")
        run = deployment("load-features/local", data=str(data))

        def waits() -> bool:
            task = task_runs(api, run).get("load_into_hazelcast")
            return task is not None and task["state_name"] == "AwaitingRetry"

        until(waits, what="the task's retry")
        client.get_map(MANIFEST).blocking().unlock("loading")
        assert ended(api, run)["state_type"] == "COMPLETED"
        assert task_run(api, run, "load_into_hazelcast", "COMPLETED")["run_count"] >= 2

        write_population(simulate_population(500, 50, 1), tmp_path)
        path = tmp_path / "customer_data.csv"
        path.write_text(path.read_text().replace(",urban,", ",,", 1))
        broken = ended(api, deployment("load-features/local", data=str(tmp_path)))
        assert broken["state_type"] == "FAILED"
        assert "customer_data.csv, line " in broken["state"]["message"]
        assert "column setting: is empty" in broken["state"]["message"]
        assert task_run(api, broken["id"], "load_into_hazelcast", "FAILED")["run_count"] == 1
        assert client.get_map(CUSTOMERS).size().result() == 500
    finally:
        client.shutdown()


def test_the_nightly_run_is_scheduled(api: PrefectApi):
    def planned() -> list[dict[str, Any]]:
        filters = {"flows": {"name": {"any_": ["load-features"]}}}
        runs = api.post("/flow_runs/filter", filters | {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
        return [run for run in runs if run["auto_scheduled"]]

    first = until(planned, what="a scheduled run")[0]
    assert first["expected_start_time"].split("T")[1].startswith("03:00")
    assert first["parameters"] == {"again": True}


def test_scoring_goes_on_until_it_is_cancelled_and_comes_back_when_it_is_killed(
    up: Settings, api: PrefectApi, deployment, command
):
    first = deployment("score/local", processes=2)
    until(lambda: scorers(up) == 2, what="two scorers in the group")
    flow = process_of_run(api, first)
    left = [child for child in flow.children(recursive=True) if "scoring.worker" in " ".join(child.cmdline())]
    assert len(left) == 2
    flow.send_signal(signal.SIGKILL)
    # No scorer is left behind, and another run takes over without anybody's doing.
    until(lambda: not any(scorer.is_running() for scorer in left), what="the orphans' end")
    assert ended(api, first)["state_type"] == "CRASHED"
    second = until(lambda: scoring_run(api), what="a new run")
    assert second != first
    until(lambda: scorers(up) > 0, what="scorers in the group")
    command("prefect", "flow-run", "cancel", str(second))
    assert ended(api, second)["state_type"] == "CANCELLED"
    until(lambda: scorers(up) == 0, what="an empty group")
    assert api.get(f"/flow_runs/{second}")["state_type"] == "CANCELLED"


@pytest.mark.slow
def test_scoring_comes_back_when_its_worker_dies_alone_or_with_it(
    up: Settings, api: PrefectApi, deployment, command, data: Path
):
    load(up, data)

    def scores() -> str | None:
        run = scoring_run(api)
        return run if scorers(up) == 1 else None

    deployment("score/local", processes=1)
    first = until(scores, what="a scorer in the group")
    process_of_service(up, stack.WORKER).kill()
    # Either is answered by another start.
    assert ended(api, first)["state_type"] in {"CRASHED", "FAILED"}
    until(lambda: scorers(up) == 0, what="an empty group")
    stack.up(up, services={stack.WORKER})
    second = until(scores, what="a new run")

    foreign = _run_of_somebody_else(api, "somebody-elses")
    _beat(api, foreign)
    for process in (process_of_service(up, stack.WORKER), process_of_run(api, second)):
        process.kill()
    # Nobody is left to say that it died; that it says nothing is seen after 150 s.
    until(lambda: api.get(f"/flow_runs/{second}")["state_type"] == "CRASHED", 240, "the end of the silent run")
    assert api.get(f"/flow_runs/{foreign}")["state_type"] == "RUNNING"
    stack.up(up, services={stack.WORKER})
    third = until(scores, what="a new run")
    command("prefect", "flow-run", "cancel", third)
    assert ended(api, third)["state_type"] == "CANCELLED"


def _run_of_somebody_else(api: PrefectApi, flow_name: str) -> str:
    """A run of a deployment that is not ours, and that no worker of ours runs."""
    flow = api.post("/flows/", {"name": flow_name})["id"]
    deployment = api.post("/deployments/", {"name": "theirs", "flow_id": flow})["id"]
    run = {"flow_id": flow, "deployment_id": deployment, "state": {"type": "RUNNING"}}
    return api.post("/flow_runs/", run)["id"]


def _beat(api: PrefectApi, run: str) -> None:
    flow = api.get(f"/flow_runs/{run}")["flow_id"]
    heartbeat = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "related": [
            {
                "prefect.resource.id": f"prefect.flow.{flow}",
                "prefect.resource.role": "flow",
                "prefect.resource.name": api.get(f"/flows/{flow}")["name"],
            }
        ],
    }
    api.post("/events", [heartbeat])


@pytest.mark.slow
def test_scoring_goes_on_while_prefects_server_is_dead_and_can_be_cancelled_when_it_is_back(
    up: Settings, api: PrefectApi, deployment, command, data: Path
):
    load(up, data)
    population = simulate_population(500, 50, 1)

    def send(number: int) -> None:
        name = f"server-{number}"
        seed(up.kafka, FrameSource(Simulation(population, 1_000, number).frames, 1_000, name), name)

    run = deployment("score/local", processes=1)
    until(lambda: scorers(up) == 1, what="a scorer in the group")
    before = len(values(up.kafka, up.kafka.topics.predictions))
    server = process_of_service(up, stack.PREFECT)
    for process in (*server.children(recursive=True), server):
        process.kill()
    server.wait(20)
    send(101)
    drain(up)
    assert not api.healthy()
    stack.up(up, services={stack.PREFECT})
    send(102)
    drain(up)
    assert len(values(up.kafka, up.kafka.topics.predictions)) == before + 2_000
    assert api.get(f"/flow_runs/{run}")["state_type"] == "RUNNING"
    command("prefect", "flow-run", "cancel", run)
    # By its own end: five minutes later the server would call it so in any case.
    until(lambda: api.get(f"/flow_runs/{run}")["state_type"] == "CANCELLED", 90, "the run's end")
    until(lambda: scorers(up) == 0, what="an empty group")
    verdict = verify(up, Options(drained=True, with_map=False))
    assert verdict.holds, verdict.to_json()


def test_scoring_that_cannot_begin_is_told_and_not_tried_again(api: PrefectApi, deployment, tmp_path: Path):
    (tmp_path / "model.onnx").write_text("not a model")
    run = ended(api, deployment("score/local", model=str(tmp_path / "model.onnx")))
    # Crashed and Failed are what the automation starts again.
    assert run["state_type"] == "CANCELLED"
    assert "model.onnx is not a valid ONNX model" in run["state"]["message"]


def test_a_foreign_topic_is_not_torn_down(api: PrefectApi, deployment):
    refused = ended(api, deployment("teardown/local", topics=["Payroll"]))
    assert refused["state_type"] == "FAILED"
    assert "not topics of this pipeline, so not deleted: Payroll" in refused["state"]["message"]


def _names(api: PrefectApi) -> list[str]:
    return [deployment["name"] for deployment in api.post("/deployments/filter", {})]


def _automations(api: PrefectApi) -> set[str]:
    return {automation["name"] for automation in api.post("/automations/filter", {})}


def test_teardown_leaves_nothing_and_up_brings_it_back(
    up: Settings, api: PrefectApi, deployment, typed_deployment, command, data: Path
):
    guard = api.get("/deployments/name/expire/ecs")
    api.patch(f"/deployments/{guard['id']}/schedules/{guard['schedules'][0]['id']}", {"active": True})
    load(up, data)
    ours, theirs = deployment("score/local", processes=1), _run_of_somebody_else(api, "score")
    seeding = deployment("seed-transactions/local", count=100_000, rate=10)
    until(lambda: scorers(up) == 1, what="a scorer in the group")
    until(lambda: api.get(f"/flow_runs/{seeding}")["state_type"] == "RUNNING", what="transactions on their way")
    before = _names(api)
    run = ended(api, typed_deployment("teardown/local", topics=["Predictions"], deployments=True))
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert "Nothing is left." in artifact(api, "teardown")
    for run in (ours, seeding):
        assert api.get(f"/flow_runs/{run}")["state_type"] == "CANCELLED"
    assert api.get(f"/flow_runs/{theirs}")["state_type"] == "RUNNING"
    client = connect(up.hazelcast)
    try:
        assert FeatureStore(client).read_manifest() is None
        assert client.get_map(PREDICTIONS).size().result() == 0
        assert list(client.sql.execute("SHOW JOBS").result()) == []
    finally:
        client.shutdown()
    assert "Predictions" not in partitions(up.kafka)
    assert "Transactions" in partitions(up.kafka)
    assert set(_names(api)) == {"ecs", "theirs"}, "a stack on AWS still has its end"
    assert _automations(api) == {SILENT}
    command("cli.main", "up")
    assert sorted(_names(api)) == sorted(before)
    assert _automations(api) == {SILENT, STARTS_AGAIN}
    assert api.get("/deployments/name/expire/ecs")["schedules"][0]["active"]
