"""The steps from a history to a model in the registry."""

import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from infra.errors import TerminalError
from infra.feature_tables import FeatureTables
from infra.model_store import ModelStore
from infra.settings import Settings, get_settings
from infra.transaction_sources import open_source
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.history import ONLINE_VERSION
from scoring.model import Model, load_model, unpack_model
from simulator.source import simulated
from tasks.features import demo_data, loaded_tables
from tasks.retry import transient_only
from training import dataset
from training.histories import forget_old, hold
from training.input_sets import TITLES
from training.labels import read_labels
from training.places import training_home
from training.rollout import champion_of
from training.sources import partition_count, pieces_of, pieces_of_topic, topic_identity

if TYPE_CHECKING:
    from training.learn import Work
    from training.metrics import Metrics

# Histories that stay on disk, those that were used last: some 160 bytes a transaction.
KEPT_HISTORIES = 3


@dataclass(frozen=True)
class HistoryOf:
    """Where a labelled history comes from.

    Attributes:
        source: topics, file or simulator.
        transactions: the file.
        data: folder with customers, merchants and dictionaries; left out, what is loaded in Hazelcast, or for the
            simulator the demo's.
        count: of the simulator, as are seed and days.
        seed: the same one gives the same transactions.
        days: that they span.
    """

    source: Literal["topics", "file", "simulator"] = "topics"
    transactions: str | None = None
    data: str | None = None
    count: int = 2_000_000
    seed: int = 7
    days: int = 90

    def told(self) -> str:
        """For people."""
        if self.source == "simulator":
            return f"the simulator: {self.count:,} transactions in {self.days} days, seed {self.seed}"
        return "the topics" if self.source == "topics" else str(self.transactions)


def require_training() -> None:
    """Tell at once, and not after minutes of work, that what trains is not installed.

    Raises:
        TerminalError: it is not.
    """
    if any(find_spec(name) is None for name in ("lightgbm", "mlflow", "onnxmltools", "optuna", "sklearn")):
        raise TerminalError("training needs fraudflow's extra `train`, where the worker runs: `make .venv/.tested`")


@dataclass(frozen=True)
class Run:
    """What the steps of a run share.

    Attributes:
        name: of its folder.
        history: folder of the history.
        as_of: "now", for a look back.
        search_seconds: in place of the setting's.
    """

    name: str
    history: str
    as_of: datetime | None = None
    search_seconds: float | None = None

    def work(self) -> "Work":
        """The same for `training.learn`."""
        from training.learn import Work

        settings = get_settings()
        training = settings.training
        if self.search_seconds is not None:
            training = training.model_copy(update={"search_seconds": self.search_seconds})
        return Work(Path(self.history), training_home(settings) / "runs" / self.name, training, self.as_of)


@task(retries=2, retry_delay_seconds=[5, 20], retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def compute_history(of: HistoryOf) -> str:
    """The inputs and labels of a history, as the scorers compute them. Returns the folder that they are in.

    The same history is computed once: its folder is named by everything that it is made of. It stays for as long as the
    process of this run lives, however many others come.

    Raises:
        TerminalError: a file cannot be used, or nothing in it can be scored.
        TransientError: Kafka or Hazelcast is away.
    """
    require_training()
    settings, logger = get_settings(), get_run_logger()
    started = time.monotonic()
    tables = _tables(of)
    if of.source == "topics":
        source, identity = None, topic_identity(settings.kafka)
    else:
        source = _source(of)
        identity = f"{source.identity} over {partition_count(settings.kafka)} partitions"
    made_of = [identity, tables.version, ONLINE_VERSION, dataset.FORMAT]
    name = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    directory = training_home(settings) / "histories" / name
    if dataset.take_up(directory):
        logger.info("this history is computed already: %s", directory)
        return str(directory)
    pieces = pieces_of_topic(settings.kafka) if source is None else pieces_of(source, settings.kafka)
    labels = read_labels(settings.kafka) if source is None else {}
    meta = {"source": of.told(), "population": f"{tables.customers.height:,} cards, {tables.merchants.height:,} shops"}
    built = dataset.build(pieces, Features(tables), labels, directory, meta)
    hold(directory)
    logger.info(
        "%s transactions of %s in %.1f s, %s dead letters",
        f"{len(built):,}",
        of.told(),
        time.monotonic() - started,
        f"{sum(built.meta['dead_letters'].values()):,}",
    )
    forget_old(directory.parent, KEPT_HISTORIES)
    return str(directory)


def _source(of: HistoryOf) -> Any:
    if of.source == "file":
        if not of.transactions:
            raise TerminalError("which file? Name it as `transactions`")
        return open_source(Path(of.transactions))
    return simulated(Path(of.data or demo_data()), of.count, of.seed, of.days)


def _tables(of: HistoryOf) -> FeatureTables:
    """Of the folder that is named; else what scorers use now; the simulator's own for what it simulates."""
    if of.data or of.source == "simulator":
        return read_feature_files(Path(of.data or demo_data()))
    loaded = loaded_tables()
    if loaded is None:
        raise TerminalError("no features are loaded: run load-features, or name the folder as `data`")
    return loaded[1]


@task(task_run_name="fit {inputs}", cache_policy=NO_CACHE)
def fit_model(run: Run, inputs: str) -> dict[str, Any]:
    """Fit LightGBM. Returns its parameters, trials, trees and threshold."""
    from training import learn

    made = learn.fit_model(run.work(), inputs)
    get_run_logger().info("%s: %s", inputs, made)
    return made


@task(task_run_name="judge {inputs}", cache_policy=NO_CACHE)
def judge_model(run: Run, inputs: str) -> "Metrics":
    """How good a fitted model is on the holdout."""
    from training import learn

    return learn.judge_model(run.work(), inputs)


@task(task_run_name="judge logistic regression on {inputs}", cache_policy=NO_CACHE)
def judge_floor(run: Run, inputs: str) -> "Metrics":
    """How good logistic regression is on the holdout."""
    from training import learn

    return learn.judge_floor(run.work(), inputs)


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def find_champion() -> str:
    """Which model scores now.

    Raises:
        TerminalError: it cannot be had; better told before the training than after it.
    """
    return _champion(get_settings()).manifest.version


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def judge_champion(run: Run) -> tuple[str, "Metrics"]:
    """How good the model that scores now is on the holdout, and which one that is."""
    from training.comparison import LEARNT, judge_served, learnt_until

    settings = get_settings()
    model = _champion(settings)
    data, split = run.work().open()
    name = model.manifest.version
    if learnt_until(model) > split.moment:  # of a look back, or where somebody trains again on what is there
        name += LEARNT
    return name, judge_served(data, split.holdout, model, settings)


@task(cache_policy=NO_CACHE)
def judge_file(run: Run, path: str) -> "tuple[str, Metrics]":
    """How good the model in a file is on the holdout, and its name."""
    from training.comparison import judge_served

    data, split = run.work().open()
    return Path(path).name, judge_served(data, split.holdout, load_model(Path(path)), get_settings())


@task(cache_policy=NO_CACHE)
def pack_model(run: Run, inputs: str, judged: "dict[str, Metrics]", facts: dict[str, Any]) -> dict[str, Any]:
    """Convert to ONNX, prove it, write model, manifest and report.

    Returns:
        `path`, `version`, `metrics`, `proof`, `markdown` and `table`.

    Raises:
        TerminalError: the ONNX model does not answer as LightGBM does.
    """
    from training import report
    from training.package import flat, pack

    work = run.work()
    facts = {"population": work.open()[0].meta["population"]} | facts
    made = pack(work, inputs, get_settings().training.model_name)
    side_by_side = {TITLES[inputs]: made.metrics} | judged
    text = report.markdown(made, side_by_side, facts)
    (made.path.parent / "report.md").write_text(text)
    (made.path.parent / "report.json").write_text(
        json.dumps(
            {
                "facts": facts,
                "parity": asdict(made.proof),
                "metrics": {title: metrics.to_json() for title, metrics in side_by_side.items()},
            },
            indent=1,
        )
    )
    get_run_logger().info("model %s: largest difference %.1e", made.manifest.version, made.proof.largest_difference)
    return {
        "path": str(made.path),
        "version": made.manifest.version,
        "metrics": flat(made.metrics),
        "proof": asdict(made.proof),
        "markdown": text,
        "table": report.table(side_by_side),
    }


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def register_model(run: Run, made: dict[str, Any], of: HistoryOf, fitted: dict[str, Any], inputs: int) -> str:
    """Keep a model in the registry, as the challenger. Returns its number there; its files here are removed."""
    from training.registry import Registry

    settings = get_settings()
    parameters = {"inputs": inputs, "trees": fitted["trees"], "history": json.dumps(asdict(of)), "run": run.name}
    parameters |= fitted["parameters"]
    directory = Path(made["path"]).parent
    number = Registry(settings).register(directory, made["version"], made["metrics"], parameters)
    get_run_logger().info("version %s of %s in %s", number, settings.training.model_name, Registry(settings).uri)
    shutil.rmtree(directory.parent)
    return number


def _champion(settings: Settings) -> Model:
    store = ModelStore(settings.kafka) if settings.kafka.bootstrap_servers else None
    return unpack_model(champion_of(store, settings))
