"""A model's life on real servers: trained on the topics, promoted, refused, watched."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hazelcast.client import HazelcastClient
from prefect.artifacts import Artifact
from prefect.variables import Variable

from flows.monitor import monitor
from flows.promote import promote
from flows.train import train
from infra.errors import TerminalError
from infra.feature_store import FeatureStore
from infra.local.rest import PrefectApi
from infra.model_store import ModelStore
from infra.seeding import seed
from infra.settings import Settings, get_settings
from infra.transaction_sources import FrameSource
from scoring.feature_files import read_feature_files
from simulator.population import Population, simulate_population, write_population
from simulator.transactions import Simulation
from tasks.monitor import BEGAN, STATE
from tests.conftest import reporting_to
from tests.integration.conftest import spawn  # noqa: F401 - a fixture
from tests.integration.scored import drain
from tests.kafka_log import values
from tests.models import saved, trained
from tests.waiting import until
from training.registry import CHALLENGER, CHAMPION, Registry

pytestmark = [pytest.mark.server, pytest.mark.slow]

DAYS = 42
COUNT = 24_000
# Periods for six weeks of history; threads of so small fits wait for each other more than they work.
TRAINING = {"THREADS": "1", "LABEL_DELAY_DAYS": "3", "WARMUP_DAYS": "5", "VALIDATION_DAYS": "7", "HOLDOUT_DAYS": "10"}


@pytest.fixture(scope="module")
def api(prefect: str) -> Iterator[PrefectApi]:
    with reporting_to(prefect):
        yield PrefectApi(prefect)


@pytest.fixture
def population(settings: Settings, client: HazelcastClient, tmp_path: Path) -> Population:
    made = simulate_population(1_000, 100, 1)
    write_population(made, tmp_path / "data")
    FeatureStore(client).load(read_feature_files(tmp_path / "data"))
    return made


@pytest.fixture
def trainable(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings for a short history, with a registry of the test's own."""
    for name, value in TRAINING.items():
        monkeypatch.setenv(f"FRAUDFLOW_TRAINING__{name}", value)
    monkeypatch.setenv("FRAUDFLOW_LOCAL__HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FRAUDFLOW_MONITOR__MIN_ROWS", "500")
    # The first champion: one that a model of six small weeks can beat.
    champion = saved(trained(("amt", "distance_from_home")), tmp_path / "champion")
    monkeypatch.setenv("FRAUDFLOW_SCORING__MODEL", str(champion))
    get_settings.cache_clear()
    return get_settings()


def send(settings: Settings, made: Population, count: int, start: datetime, days: int, times: float = 1.0) -> None:
    """Seed simulated transactions, with amounts so many times as large."""
    simulation = Simulation(made, count, 1, start=start, days=days)

    def frames(skip: int):
        return (frame.with_columns(frame["amt"] * times) for frame in simulation.frames(skip))

    seed(settings.kafka, FrameSource(frames, count, f"{start}"), f"{start:%Y%m%d}")


def begun(api: PrefectApi, key: str) -> int:
    """How many events tell that an incident began."""
    resource = {"id": [f"fraudflow.incident.{key}"]}
    return api.post("/events/filter", {"filter": {"event": {"name": [BEGAN]}, "resource": resource}})["total"]


def test_a_model_is_trained_promoted_refused_and_watched(
    trainable: Settings,
    population: Population,
    api: PrefectApi,
    spawn,  # noqa: F811
):
    settings = trainable
    send(settings, population, COUNT, datetime(2025, 1, 1), DAYS)  # noqa: DTZ001
    registry, store = Registry(settings), ModelStore(settings.kafka)

    done = train(search_seconds=0.5)
    assert done["parity"]["rows"] >= 100_000
    assert done["parity"]["largest_difference"] <= 1e-5
    first = registry.version(CHALLENGER)
    assert (first.version, first.model_version) == (done["version"], done["model_version"])
    assert registry.made_by(first.tags["run"]) == first
    assert store.read().roles is None, "train promoted something by itself"
    report = Artifact.get("train")
    assert report is not None
    assert "logistic regression" in str(report.data)

    assert promote()["model_version"] == first.model_version
    assert registry.version(CHAMPION).version == first.version
    assert store.read().roles.champion == first.model_version

    worse = train(search_seconds=0, inputs="general", compare=False)
    with pytest.raises(TerminalError, match="is worse than the champion"):
        promote()
    assert registry.version(CHAMPION).version == first.version
    assert store.read().roles.champion == first.model_version
    promote(even_if_worse=True)
    assert store.read().roles.champion == worse["model_version"]
    promote(version=first.version, even_if_worse=True)

    spawn("0")
    drain(settings)
    assert {p["model_version"] for p in values(settings.kafka, settings.kafka.topics.predictions)} == {
        first.model_version
    }
    Variable.set(STATE, {}, overwrite=True)
    quiet = monitor(retrain=False)
    assert quiet["findings"] == [], quiet
    # A week of amounts that are five times as large.
    send(settings, population, 5_000, datetime(2025, 2, 12), 7, times=5.0)  # noqa: DTZ001
    drain(settings)
    loud = monitor(retrain=False)
    assert "drift:amt" in loud["began"]
    until(lambda: begun(api, "drift:amt") == 1, 30, "the event of the incident")
    alert = Artifact.get("monitor-alert")
    assert alert is not None
    assert "amt has drifted" in str(alert.data)
    with pytest.raises(TerminalError, match="no deployment train/local"):
        monitor(retrain=True)
    train_flow = api.post("/flows/", {"name": "train"})["id"]
    api.post("/deployments/", {"name": "local", "flow_id": train_flow})
    again = monitor(retrain=True)
    assert again["began"] == []
    assert "drift:amt" in again["last"]
    assert begun(api, "drift:amt") == 1
    assert Artifact.get("monitor-alert").id == alert.id, "the incident was told twice"
    # The drift called for a training, and no second one so soon.
    assert api.get(f"/flow_runs/{again['training']}")["flow_id"] == train_flow
    assert monitor(retrain=True)["training"] is None
