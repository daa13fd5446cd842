"""The deployment promote on a Prefect server: what the challenger is compared on, and whom it replaces."""

import dataclasses
import json
from pathlib import Path

import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException

from flows.promote import promote
from infra.errors import FraudflowError, InputError, TerminalError, TransientError
from infra.model_store import ModelStore
from infra.settings import Settings, get_settings
from scoring.feature_files import read_feature_files
from simulator.population import simulate_population, write_population
from tasks.promote import crown
from tasks.train import HistoryOf
from tests.models import saved, trained
from training.dataset import Dataset
from training.histories import forget_old
from training.places import training_home
from training.registry import CHALLENGER, CHAMPION, Registry
from training.rollout import make_champion
from training.served import MODEL_FILE

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("on_prefect")]

POPULATION = simulate_population(500, 50, 1)
STATIC = ("amt", "distance_from_home")
FIRST, CHALLENGING, OTHER = (trained(STATIC, seed) for seed in (1, 2, 3))


@pytest.fixture
def registry(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry with a challenger that was trained on simulated transactions."""
    monkeypatch.setenv("FRAUDFLOW_LOCAL__HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FRAUDFLOW_SCORING__MODEL", str(saved(FIRST, tmp_path / "first")))
    get_settings.cache_clear()
    write_population(POPULATION, tmp_path / "data")
    of = HistoryOf("simulator", data=str(tmp_path / "data"), count=10_000, days=30)
    made = Registry(get_settings())
    directory = saved(CHALLENGING, tmp_path / "challenging", MODEL_FILE).parent
    made.register(directory, CHALLENGING.version, {}, {"history": json.dumps(dataclasses.asdict(of))})
    return made


def _away(*_: object) -> None:
    raise MlflowException("API request failed: no connection")


@pytest.mark.parametrize(
    ("code", "kind"),
    [("UNAUTHENTICATED", TerminalError), ("PERMISSION_DENIED", TerminalError), ("INTERNAL_ERROR", TransientError)],
)
def test_what_mlflow_refuses_is_not_asked_again(registry: Registry, monkeypatch, code: str, kind: type[FraudflowError]):
    def refuses(*_: object, **__: object) -> None:
        raise RestException({"error_code": code, "message": "no"})

    monkeypatch.setattr(MlflowClient, "search_model_versions", refuses)
    with pytest.raises(kind, match="MLflow at "):
        registry.versions()


def test_a_champion_that_came_during_the_comparison_is_not_replaced(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
):
    store = ModelStore(settings.kafka)

    def somebody_promotes(*_: object, **__: object) -> None:
        make_champion(store, get_settings(), OTHER, FIRST.version, "it was compared with the first")

    with monkeypatch.context() as patch:
        patch.setattr("flows.promote.create_table_artifact", somebody_promotes)
        with pytest.raises(TerminalError, match=f"meanwhile {OTHER.version} became the champion: compare again"):
            promote(even_if_worse=True)
    standing = store.read().roles
    assert standing is not None
    assert standing.champion == OTHER.version
    assert registry.version(CHALLENGER).aliases == (CHALLENGER,)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", _away)
        with pytest.raises(TransientError, match=r"MLflow at .* does not answer"):
            crown.fn(registry.version().version, OTHER.version, "it is better")
    assert registry.version().aliases == (CHALLENGER,), "scorers know it, the registry does not"
    with pytest.raises(TerminalError, match="is the champion already"):
        promote()
    assert registry.version(CHAMPION).model_version == CHALLENGING.version


def test_the_way_back_is_open_where_nothing_can_be_compared(registry: Registry, settings: Settings, tmp_path: Path):
    nowhere = {"transactions": str(tmp_path / "gone.csv"), "data": str(tmp_path / "data")}
    with pytest.raises(InputError, match=r"gone\.csv"):
        promote(**nowhere)
    assert promote(**nowhere, even_if_worse=True)["replaced"] == FIRST.version
    standing = ModelStore(settings.kafka).read().roles
    assert standing is not None
    assert "promoted uncompared" in standing.why
    with pytest.raises(TerminalError, match="is the champion already"):
        promote(version="1", even_if_worse=True)


def test_other_customers_are_compared_on_and_their_history_is_kept(registry: Registry, tmp_path: Path):
    moved = tmp_path / "moved"
    customers = POPULATION.customers.with_columns(city=pl.lit("Newtown"))
    write_population(dataclasses.replace(POPULATION, customers=customers), moved)
    assert promote(data=str(moved), even_if_worse=True)["replaced"] == FIRST.version
    histories = training_home(get_settings()) / "histories"
    # This process is still the run.
    forget_old(histories, 0)
    (history,) = histories.iterdir()
    meta = Dataset.load(history).meta
    assert meta["features"] == read_feature_files(moved).version
    assert meta["source"].startswith("the simulator: 10,000 transactions in 30 days")
