"""From history to a model: cut by time, judged by cost, converted so that it answers the same."""

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import lightgbm as lgb
import msgspec
import numpy as np
import onnxruntime as ort
import pytest

from infra.errors import TerminalError
from infra.partitioner import Partitioner, murmur2
from infra.settings import KafkaSettings, ScoringSettings, Settings, TrainingSettings
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.history import ONLINE_INPUTS
from scoring.manifest import read_manifest
from scoring.model import PROJECT_MODEL, Model, load_model
from simulator.population import simulate_population, write_population
from simulator.source import simulated
from tasks.promote import _newest_rows
from training import comparison, dataset, learn
from training.comparison import Comparison, judge_served
from training.convert import for_float32, next_below, to_onnx
from training.dataset import Dataset
from training.fit import predict
from training.input_sets import INPUT_SETS
from training.labels import DAY, UNKNOWN, Said, end_of, known_labels
from training.metrics import Metrics, cheapest_threshold, evaluate, money
from training.package import pack
from training.parity import prove
from training.report import table
from training.sources import pieces_of
from training.split import Part, newest_part, split_by_time

SETTINGS = TrainingSettings(search_seconds=0, threads=1)
KAFKA = KafkaSettings()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("world")
    write_population(simulate_population(1_000, 100, 1), directory)
    return directory


@pytest.fixture(scope="module")
def features(world: Path) -> Features:
    return Features(read_feature_files(world))


@pytest.fixture(scope="module")
def history(world: Path, features: Features, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("history") / "built"
    dataset.build(pieces_of(simulated(world, 40_000, 7, 60), KAFKA), features, {}, directory, {"source": "simulated"})
    return directory


@pytest.fixture(scope="module")
def work(history: Path, tmp_path_factory: pytest.TempPathFactory) -> learn.Work:
    return learn.Work(history, tmp_path_factory.mktemp("run"), SETTINGS)


def test_cards_are_in_the_partitions_that_kafka_chooses():
    # Of Kafka's own test of its clients (UtilsTest.testMurmur2), as unsigned numbers.
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    assert murmur2(list(known)).tolist() == [value % 2**32 for value in known.values()]
    assert Partitioner(4)([b"abc", b"21", b"abc"]) == [479470107 % 4, (-973932308 & 0x7FFFFFFF) % 4, 479470107 % 4]


def test_a_history_does_not_depend_on_how_it_is_cut(
    world: Path, features: Features, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dataset, "PIECE_ROWS", 777)
    again = dataset.build(
        pieces_of(simulated(world, 40_000, 7, 60), KAFKA), features, {}, tmp_path / "again", {"source": ""}
    )
    first = Dataset.load(history)
    assert len(again) == 40_000
    assert again.inputs.tobytes() == first.inputs.tobytes()
    assert (again.own == first.own).all()


@dataclass
class Rows:
    """A tiny history: `days` from the first transaction, and what is known."""

    time: np.ndarray
    own: np.ndarray
    said: np.ndarray
    said_at: np.ndarray


def test_labels_are_known_when_they_have_come():
    at = np.array([0, 1, 2, 3, 9]) * DAY
    rows = Rows(
        time=at,
        own=np.array([1, UNKNOWN, 0, 1, 1]),
        said=np.array([UNKNOWN, UNKNOWN, 1, 0, 1]),
        said_at=np.array([0, 0, 4 * DAY, 8 * DAY, 9 * DAY]),
    )
    # At day 7 the labels of day 0 are due, and no others: not even that of day 2, of which there is a verdict.
    assert known_labels(rows, 7 * DAY, SETTINGS).tolist() == [1, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]
    # At day 10: nobody spoke about the transaction of day 1; a verdict goes before the row's own label.
    assert known_labels(rows, 10 * DAY, SETTINGS).tolist() == [1, 0, 1, 0, UNKNOWN]
    careful = SETTINGS.model_copy(update={"undisputed_is_genuine": False})
    assert known_labels(rows, 10 * DAY, careful).tolist() == [1, UNKNOWN, 1, 0, UNKNOWN]


def test_the_past_is_learnt_from_and_the_future_judged_on(history: Path):
    data = Dataset.load(history)
    split = split_by_time(data, SETTINGS)
    newest = data.time.max()
    fit, validation, holdout = (data.time[part.rows] for part in (split.fit, split.validation, split.holdout))
    assert data.time.min() + 7 * DAY <= fit.min()
    assert fit.max() <= validation.min()
    assert validation.max() <= split.moment - 7 * DAY
    assert split.moment <= holdout.min()
    assert holdout.max() <= newest - 7 * DAY
    assert (data.own[split.holdout.rows] == split.holdout.label).all()
    later = newest_part(data, SETTINGS, int(validation.max()))
    assert data.time[later.rows].min() > validation.max()


def test_verdicts_that_come_early_move_no_period(history: Path):
    """They come for alerts: days in which these alone are known would have more fraud than there is."""
    data = Dataset.load(history)
    alerts = (data.own == 1) & (np.random.default_rng(1).random(len(data.own)) < 0.6)
    judged = dataclasses.replace(
        data,
        said=np.where(alerts, 1, UNKNOWN).astype(np.int8),
        said_at=np.where(alerts, data.time + 3_600, 0),
    )
    calm, busy = split_by_time(data, SETTINGS), split_by_time(judged, SETTINGS)
    assert calm.moment == busy.moment
    for name in ("fit", "validation", "holdout"):
        one, other = getattr(calm, name), getattr(busy, name)
        assert one.rows.tolist() == other.rows.tolist(), name
        assert one.label.tolist() == other.label.tolist(), name
    assert (
        newest_part(data, SETTINGS, calm.moment).rows.tolist()
        == newest_part(judged, SETTINGS, calm.moment).rows.tolist()
    )


def test_one_old_date_does_not_cut_the_warm_up_short(history: Path):
    data = Dataset.load(history)
    time = data.time.copy()
    time[3] = 0  # the year 1970
    begin = data.time[split_by_time(data, SETTINGS).fit.rows].min()
    again = data.time[split_by_time(dataclasses.replace(data, time=time), SETTINGS).fit.rows].min()
    assert abs(again - begin) < DAY


def test_a_period_in_which_no_alert_would_pay_can_be_reported():
    rng = np.random.default_rng(0)
    label = (rng.random(500) < 0.05).astype(np.int8)
    small = np.full(500, 1.0)  # a review costs ten
    probability, time, card = rng.random(500).astype(np.float32), np.arange(500), np.zeros(500, np.int32)
    metrics = evaluate(probability, label, time=time, card=card, amount=small, threshold=0.5, settings=SETTINGS)
    (row,) = table({"this one": metrics})
    assert row["saved"].startswith("-")


def test_a_history_that_is_too_short_is_refused_with_what_to_do(history: Path):
    with pytest.raises(TerminalError, match="FRAUDFLOW_TRAINING__"):
        split_by_time(Dataset.load(history), SETTINGS.model_copy(update={"holdout_days": 45}))


def test_a_verdict_is_as_late_as_it_came_after_the_transaction(features: Features, world: Path, tmp_path: Path):
    (piece,) = pieces_of(simulated(world, 100, 7, 60), KAFKA)
    arrived = [1e9] * 100
    number = dataset.decode_batch(piece.values[:1])[0][0].trans_num
    labels = {number: Said(True, 1e9 + 3 * DAY)}
    built = dataset.build([piece._replace(arrived=arrived)], features, labels, tmp_path / "h", {"source": ""})
    assert built.said.tolist() == [1] + [UNKNOWN] * 99
    assert built.said_at[0] == built.time[0] + 3 * DAY


def test_the_threshold_is_the_one_that_costs_least():
    rng = np.random.default_rng(0)
    probability = np.round(rng.random(400), 2).astype(np.float32)
    label = (rng.random(400) < probability * 0.2).astype(np.int8)
    amount = rng.lognormal(3, 1, 400)
    chosen = money(probability, label, amount, cheapest_threshold(probability, label, amount, SETTINGS), SETTINGS)
    others = [money(probability, label, amount, at, SETTINGS).cost for at in np.arange(0.005, 0.99, 0.01)]
    assert chosen.cost == pytest.approx(min(others))
    assert chosen.saved == pytest.approx(chosen.loss_without - chosen.cost)


def test_cards_are_counted_by_day():
    # Two days of three cards; k is more than there are, so each day's share is of three.
    found = evaluate(
        np.array([0.9, 0.1, 0.2, 0.3, 0.8, 0.1, 0.2], np.float32),
        np.array([1, 0, 0, 1, 0, 0, 1], np.int8),
        time=np.array([0, 1, 2, 3, DAY, DAY + 1, DAY + 2]),
        card=np.array([0, 1, 2, 0, 0, 1, 2], np.int32),
        amount=np.ones(7),
        threshold=0.5,
        settings=SETTINGS,
    )
    assert found.card_precision == found.card_precision_at_best == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert (found.precision, found.recall) == (0.5, pytest.approx(1 / 3))


@pytest.fixture(scope="module")
def booster() -> lgb.Booster:
    """Splits between values that float32 cannot tell from their neighbours; on zeros; on inputs never missing."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(0, 1, (3_000, 3)).astype(np.float32)
    inputs[::7, 1] = np.nan
    inputs[::3, 2] = 0
    label = (inputs[:, 0] + np.nan_to_num(inputs[:, 1]) + (inputs[:, 2] == 0) + rng.normal(0, 1, 3_000) > 1).astype(int)
    return lgb.train({"objective": "binary", "verbose": -1, "num_threads": 1}, lgb.Dataset(inputs, label), 60)


def predictor(onnx: bytes):
    session = ort.InferenceSession(onnx)
    return lambda rows: session.run(["probabilities"], {"input": rows})[0][:, 1]


def test_the_onnx_model_takes_the_boosters_way_on_and_beside_every_threshold(booster: lgb.Booster):
    rows = np.random.default_rng(1).normal(0, 1, (5_000, 3)).astype(np.float32)
    exact = for_float32(booster)
    proof = prove(exact, predictor(to_onnx(exact)), rows)
    assert proof.rows >= 100_000
    assert proof.largest_difference < 1e-6
    # It is still the same booster, missing values included.
    rows[::5, 0] = rows[::3, 1] = np.nan
    assert (np.asarray(exact.predict(rows)) == np.asarray(booster.predict(rows))).all()


def test_a_conversion_that_differs_is_refused(booster: lgb.Booster):
    rows = np.random.default_rng(1).normal(0, 1, (5_000, 3)).astype(np.float32)
    with pytest.raises(TerminalError, match="is refused"):
        prove(booster, predictor(to_onnx(booster)), rows)  # thresholds rounded to nearest


@pytest.mark.parametrize("value", [0.1, -0.1, 1 / 3, 1e30, -1e-30, 2.5, 16_777_217.0])
def test_a_threshold_moves_down_to_a_float32(value: float):
    below = next_below(np.float64(value))
    assert np.float64(below) <= value < np.float64(np.nextafter(below, np.float32(np.inf)))


def test_a_model_is_fitted_judged_and_packed_with_its_manifest(work: learn.Work):
    learn.fit_model(work, "online")
    learn.fit_model(work, "static")
    made = pack(work, "online", "test")
    static, floor = learn.judge_model(work, "static"), learn.judge_floor(work, "online")
    assert made.metrics.average_precision > static.average_precision
    assert made.metrics.average_precision > floor.average_precision
    assert made.metrics.money.saved > 0
    # The probabilities mean something: about as many frauds came as were expected.
    assert made.metrics.expected_fraud == pytest.approx(made.metrics.fraud, rel=0.5)
    manifest = read_manifest(made.path)
    assert manifest == made.manifest
    data, split = work.open()
    chosen = data.amount[split.validation.rows]
    booster, _ = learn.fitted_model(work, "online")
    probability = predict(booster, data, split.validation, INPUT_SETS["online"])
    assert manifest.threshold == cheapest_threshold(probability, split.validation.label, chosen, SETTINGS)
    assert manifest.names == INPUT_SETS["online"]
    assert len(set(ONLINE_INPUTS) & set(manifest.names)) == len(ONLINE_INPUTS) - 1
    assert manifest.parity.rows >= 100_000
    assert manifest.trained_on.last < "2025-02-08"
    assert manifest.metrics["average_precision"] == made.metrics.average_precision
    assert {"score", "amt"} <= manifest.reference.keys()
    assert load_model(made.path).version == manifest.version


def test_a_challenger_that_finds_less_or_saves_less_is_refused():
    rng = np.random.default_rng(0)
    label = (rng.random(2_000) < 0.05).astype(np.int8)
    champion, amount = np.clip(label * 0.5 + rng.random(2_000) * 0.5, 0, 1).astype(np.float32), np.full(2_000, 100.0)
    time, card = np.arange(2_000), np.zeros(2_000, np.int32)

    def judged(probability: np.ndarray, threshold: float) -> Metrics:
        return evaluate(probability, label, time=time, card=card, amount=amount, threshold=threshold, settings=SETTINGS)

    good = judged(champion, 0.5)
    assert Comparison(good, good).refusal is None, "as good is not worse"
    blind = judged(rng.permutation(champion), 0.5)
    assert "average precision" in (Comparison(blind, good).refusal or "")
    assert Comparison(good, blind).refusal is None
    timid = judged(champion, 0.95)
    assert "it saves" in (Comparison(timid, good).refusal or "")


def test_the_projects_model_is_proved_small_and_better_than_one_without_a_past(history: Path):
    data = Dataset.load(history)
    split = split_by_time(data, SETTINGS)
    model, static = load_model(PROJECT_MODEL), load_model(PROJECT_MODEL.with_name("static.onnx"))
    ours, theirs = (judge_served(data, split.holdout, one, Settings()) for one in (model, static))
    assert ours.average_precision > theirs.average_precision
    assert ours.money.saved > theirs.money.saved
    manifest = model.manifest
    assert manifest.parity.rows >= 100_000
    assert manifest.parity.largest_difference <= 1e-5
    assert manifest.uses_history
    assert manifest.threshold == manifest.metrics["threshold"]
    assert sum(file.stat().st_size for file in PROJECT_MODEL.parent.glob("fraud.onnx*")) < 1_000_000


def test_a_shops_wrong_clock_does_not_move_the_present(history: Path):
    data = Dataset.load(history)
    split = split_by_time(data, SETTINGS)
    time, said_at = data.time.copy(), data.said_at.copy()
    time[5:8] = said_at[5:8] = 32_000_000_000  # the year 2984
    misdated = dataclasses.replace(data, time=time, said_at=said_at)
    assert abs(end_of(misdated) - end_of(data)) < DAY
    again = split_by_time(misdated, SETTINGS)
    assert abs(again.moment - split.moment) < DAY
    assert len(again.holdout.rows) == pytest.approx(len(split.holdout.rows), rel=0.1)
    assert not set(range(5, 8)) & set(again.holdout.rows.tolist())


def test_models_are_judged_at_the_threshold_that_they_are_served_with(history: Path, monkeypatch: pytest.MonkeyPatch):
    data, model = Dataset.load(history), load_model(PROJECT_MODEL)
    asked = []
    monkeypatch.setattr(comparison, "predict_part", lambda *_: None)
    monkeypatch.setattr(comparison, "judge", lambda _data, _part, _probability, at, _settings: asked.append(at))
    for settings in (Settings(), Settings(scoring=ScoringSettings(alert_threshold=0.5))):
        comparison.judge_served(data, Part(np.arange(3), np.zeros(3, np.int8)), model, settings)
    assert asked == [model.manifest.threshold, 0.5]


def test_models_are_compared_on_what_neither_has_learnt_from_if_there_is_any(history: Path):
    data, model = Dataset.load(history), load_model(PROJECT_MODEL)

    def learnt(until: float) -> Model:
        last = f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%S}"
        trained_on = msgspec.structs.replace(model.manifest.trained_on, last=last)
        return dataclasses.replace(model, manifest=msgspec.structs.replace(model.manifest, trained_on=trained_on))

    day = int(data.time.min()) + 30 * DAY
    early, late, never = learnt(day), learnt(day + 15 * DAY), learnt(data.time.max() + 400 * DAY)
    rows, known = _newest_rows(data, SETTINGS, early, late, None)
    assert data.time[rows.rows].min() > day + 15 * DAY
    assert not known
    assert _newest_rows(data, SETTINGS, late, early, None)[0].rows.tolist() == rows.rows.tolist()
    # Back to an earlier model, with its own history: the champion may know all of it, and it can be done all the same.
    rows, known = _newest_rows(data, SETTINGS, early, never, None)
    assert len(rows.rows)
    assert known
