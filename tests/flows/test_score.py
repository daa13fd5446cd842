"""The flow `score` on a Prefect server: what does not end it, what does, and what people see of it."""

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer
from prefect import flow
from prefect.artifacts import Artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.sorting import LogSort
from prefect.context import SettingsContext
from prefect.runtime import flow_run

from flows.score import score
from infra.errors import TerminalError
from infra.feature_store import FeatureStore
from infra.kafka import client_config, group_members
from infra.model_store import ModelStore
from infra.seeding import seed
from infra.settings import Settings
from scoring import projection_watch
from scoring.feature_files import read_feature_files
from scoring.supervisor import Supervisor
from simulator.population import Population, simulate_population, write_population
from tasks.score import LiveArtifact, StateFence, refuse_idle_model
from tests.conftest import environment, reporting_to
from tests.integration.scored import committed, simulated
from tests.models import saved, trained
from tests.waiting import until
from training.rollout import standing_roles
from verify.verification import Options, verify

pytestmark = pytest.mark.server


@pytest.fixture(scope="module", autouse=True)
def _on_prefect(prefect: str) -> Iterator[None]:
    """In every thread: the flow's own do not inherit the settings, which a worker puts into the environment."""
    with reporting_to(prefect), pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefect.context.GLOBAL_SETTINGS_CONTEXT", SettingsContext.get())
        yield


@pytest.fixture
def population(settings: Settings, client, tmp_path: Path) -> Population:
    """Customers and merchants whose features are loaded."""
    made = simulate_population(500, 50, 1)
    write_population(made, tmp_path / "data")
    FeatureStore(client).load(read_feature_files(tmp_path / "data"))
    return made


def feed_and_abort(settings: Settings, rows: int) -> None:
    """Rows in a transaction that is aborted: they take offsets, and no reader sees them."""
    producer = Producer(client_config(settings.kafka) | {"transactional.id": uuid.uuid4().hex})
    producer.init_transactions(30)
    producer.begin_transaction()
    for row in range(rows):
        producer.produce(settings.kafka.topics.transactions, b"x", partition=row % settings.kafka.partitions)
    assert producer.flush(30) == 0
    producer.abort_transaction(30)


@pytest.mark.timeout(120)
def test_scoring_ends_when_all_is_scored_without_a_projection_and_behind_aborted_rows(
    settings: Settings, population: Population, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> list[str]:
        raise TerminalError("the members cannot resolve the broker")

    monkeypatch.setattr(projection_watch, "ensure_projection", refuse)
    seed(settings.kafka, simulated(population, 500), "all")
    feed_and_abort(settings, 12_000)
    assert score(processes=1, until_drained=True)["predictions"] == 500

    def told() -> list[str]:
        with get_client(sync_client=True) as api:
            return [log.message for log in api.read_logs(limit=200, sort=LogSort.TIMESTAMP_DESC)]

    until(lambda: "no projection for now: the members cannot resolve the broker" in told(), what="the warning")


def test_scorers_of_a_flow_that_calls_score_work_beside_those_of_the_deployment(
    settings: Settings, population: Population, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In one group, and none fences another."""
    rows, all_scored = 10_000, threading.Event()
    # The flow that is called goes on until both have had their share.
    monkeypatch.setattr("flows.score.GroupReader.drained", lambda _: all_scored.is_set())

    def send() -> None:
        until(lambda: group_members(settings.kafka, settings.scoring.group_id) == 2, what="both scorers in the group")
        seed(settings.kafka, simulated(population, rows), "both", rate=2_000)
        until(lambda: committed(settings) == rows, what="all predictions")
        all_scored.set()

    @flow(name="calls-score")
    def calls() -> dict:
        return score(processes=1, until_drained=True)

    deployments = Supervisor(1, tmp_path, environment(settings))
    sending = threading.Thread(target=send)
    try:
        until(lambda: deployments.tick().state == "scoring", what="the deployment's scorer")
        sending.start()
        inline = calls()
        sending.join()
    finally:
        totals = deployments.drain()
    assert 0 < inline["predictions"] < rows
    assert totals.predictions == rows - inline["predictions"]
    assert totals.aborts == 0
    assert verify(settings, Options(drained=True, with_map=False)).holds


def test_a_model_beside_which_another_is_the_champion_is_refused(settings: Settings, tmp_path: Path):
    """It would score nothing, and nobody would be told."""
    champion, other = saved(trained(seed=1), tmp_path / "champion"), saved(trained(seed=2), tmp_path / "other")
    refuse_idle_model(settings, str(other))
    settings.scoring.model = str(champion)
    standing_roles(ModelStore(settings.kafka), settings)
    refuse_idle_model(settings, str(champion))
    refuse_idle_model(settings, None)
    state = score(processes=1, until_drained=True, model=str(other), return_state=True)
    assert state.type == "CANCELLED"
    assert f"{other} would not score" in state.message


def test_a_run_that_was_deleted_ends():
    with get_client(sync_client=True) as api:
        run = api.create_flow_run(score)
        fence = StateFence(run.id, seconds=0.1)
        fence.start()
        api.delete_flow_run(run.id)
    fence.join(30)
    assert fence.ended == "deleted"


def test_an_artifact_that_could_not_be_made_at_once_is_made_by_the_next_update(monkeypatch: pytest.MonkeyPatch):
    create, refused = SyncPrefectClient.create_artifact, []

    def fail_once(self: SyncPrefectClient, artifact: ArtifactCreate) -> object:
        if not refused:
            refused.append(artifact)
            raise httpx.ReadTimeout("the server is busy")
        return create(self, artifact)

    key = f"live-{uuid.uuid4().hex}"

    @flow(name="shows")
    def shows() -> tuple[str, str | None]:
        monkeypatch.setattr(SyncPrefectClient, "create_artifact", fail_once)
        live = LiveArtifact(key, lambda: "what there is to see", seconds=0.1)
        until(lambda: Artifact.get(key), 30, "the artifact")
        live.close()
        artifact = Artifact.get(key)
        return flow_run.id, artifact and str(artifact.flow_run_id)

    own, shown = shows()
    assert refused
    assert shown == own
