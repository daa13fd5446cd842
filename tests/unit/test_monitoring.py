"""What is watched: drift that is there is found, quiet weeks are quiet, and an incident is told once."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from infra.settings import KafkaSettings, MonitorSettings, TrainingSettings
from monitoring.checks import Drift, Operations, Quality, drift_of, findings_of, quality_of
from monitoring.drift import psi, shares_now, shares_then
from monitoring.incidents import Finding, follow
from monitoring.report import write_report
from monitoring.window import Window, _Rows, _slices
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.manifest import plain_manifest
from simulator.population import simulate_population, write_population
from simulator.source import simulated
from training import dataset
from training.dataset import Dataset
from training.distribution import distribution
from training.input_sets import INPUT_SETS
from training.labels import DAY, UNKNOWN, Heard
from training.sources import pieces_of

SETTINGS = MonitorSettings()
NOW = datetime(2025, 3, 1, tzinfo=UTC)
CALM = Operations(lag=0, dead_letters=0, predictions=10_000, features_loaded=NOW - timedelta(hours=3), now=NOW)
UNLABELLED = Quality(0, 0, 0, 0, None, None)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Ten weeks; the simulated habits change with the month alone."""
    world = tmp_path_factory.mktemp("world")
    write_population(simulate_population(1_000, 100, 1), world)
    features = Features(read_feature_files(world))
    source = simulated(world, 70_000, 7, 70)
    return dataset.build(pieces_of(source, KafkaSettings()), features, {}, world / "h", {"source": ""})


def window_of(data: Dataset, week: int) -> Window:
    names = INPUT_SETS["online"]
    rows = np.flatnonzero((data.time - data.time.min()) // (7 * DAY) == week)
    score = (np.random.default_rng(week).random(len(rows)) ** 8).astype(np.float32)
    return Window(
        names=names,
        inputs=data.matrix(rows, names),
        score=score,
        time=data.time[rows],
        label=data.own[rows],
        newest=np.ones(len(rows), bool),
        predictions=len(rows),
    )


@pytest.fixture(scope="module")
def learnt(history: Dataset):
    weeks = [window_of(history, week) for week in range(1, 6)]
    values = np.concatenate([week.inputs for week in weeks])
    score = np.concatenate([week.score for week in weeks])
    spread = {name: distribution(values[:, at]) for at, name in enumerate(weeks[0].names)}
    alerts = {"alert_rate": float((score >= 0.9).mean())}
    return msgspec.structs.replace(
        plain_manifest(b"x"), reference=spread | {"score": distribution(score)}, metrics=alerts, threshold=0.9
    )


@pytest.mark.parametrize("week", [6, 7, 8, 9])
def test_a_quiet_week_raises_no_alarm(history: Dataset, learnt, week: int):
    drift = drift_of(window_of(history, week), learnt, 0.5)
    assert drift.rows > SETTINGS.min_rows
    assert len(drift.index) == len(learnt.reference)
    assert findings_of(drift, UNLABELLED, CALM, SETTINGS) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("amt", lambda amount: amount * 2),
        ("transaction_hour", lambda hour: (hour + 6) % 24),
        ("category", lambda category: np.where(category > 4, 0, category)),
        ("card_count_24h", lambda count: count + 2),
        ("age", lambda age: np.where(np.arange(len(age)) % 3 == 0, np.nan, age)),
        ("score", lambda score: np.where(score < 0.5, score + 0.1, score)),
    ],
)
def test_a_planted_drift_is_found_and_nothing_else(history: Dataset, learnt, name: str, change):
    week = window_of(history, 7)
    if name == "score":
        week.score = change(week.score)
    else:
        column = week.names.index(name)
        week.inputs[:, column] = change(week.inputs[:, column])
    found = findings_of(drift_of(week, learnt, 0.5), UNLABELLED, CALM, SETTINGS)
    assert [finding.key for finding in found] == [f"drift:{name}"]
    assert "PSI" in found[0].text


def test_twice_the_alerts_are_an_alarm_where_the_index_sees_nothing(history: Dataset, learnt):
    week = window_of(history, 7)
    week.score[:: len(week) // 200] = 0.99
    found = findings_of(drift_of(week, learnt, 0.5), UNLABELLED, CALM, SETTINGS)
    assert [finding.key for finding in found] == ["drift:alerts"]


def test_the_sample_is_spread_evenly_and_bounded():
    assert list(_slices({0: 5, 1: 0, 2: 7}, {0: 105, 1: 0, 2: 8}, 1_000)) == [(0, 5, 105), (2, 7, 8)]
    slices = list(_slices({0: 0, 1: 1_000}, {0: 90_000, 1: 11_000}, 10_000))
    assert sum(end - start for _, start, end in slices) == pytest.approx(10_000, rel=0.05)
    assert all(before[2] <= after[1] for before, after in pairwise(slices) if before[0] == after[0])
    assert slices[-1][2] <= 11_000


def test_no_prediction_is_sampled_twice():
    slices = list(_slices({0: 100, 1: 0, 2: 7}, {0: 105, 1: 500_000, 2: 7}, 1_000))
    assert [(start, end) for partition, start, end in slices if partition == 0] == [
        (at, at + 1) for at in range(100, 105)
    ]
    assert not [partition for partition, *_ in slices if partition == 2]


def test_few_transactions_say_nothing_about_drift():
    assert findings_of(Drift(100, {"amt": 9.0}), UNLABELLED, CALM, SETTINGS) == []


def test_the_index_counts_what_is_missing_or_beyond_the_known():
    reference = distribution(np.array([1, 2, 2, 3, np.nan] * 20, np.float32))
    assert shares_then(reference) == pytest.approx([0.2, 0.4, 0.2, 0.2])
    assert shares_now(reference, np.array([1, 2.5, 99, np.nan], np.float32)) == [0.25, 0.25, 0.25, 0.25]
    assert psi(reference, np.array([1, 2, 2, 3, np.nan] * 9, np.float32)) == pytest.approx(0)
    assert psi(reference, np.full(10, np.nan, np.float32)) > 1
    never = distribution(np.full(10, np.nan, np.float32))
    assert psi(never, np.full(10, np.nan, np.float32)) == pytest.approx(0)
    assert psi(never, np.zeros(10, np.float32)) > 1


@pytest.mark.parametrize(
    ("found", "alarms"),
    [
        (80, []),  # as promised
        (65, []),  # less, but within what chance may do
        (40, ["quality:precision", "quality:recall"]),
    ],
)
def test_precision_and_recall_are_held_against_what_was_promised(found: int, alarms: list[str]):
    quality = Quality(labelled=10_000, fraud=100, alerts=100, found=found, promised_precision=0.8, promised_recall=0.8)
    assert [f.key for f in findings_of(Drift(0), quality, CALM, SETTINGS)] == alarms


def test_quality_is_counted_where_labels_have_come():
    manifest = msgspec.structs.replace(plain_manifest(b"x"), threshold=0.5, metrics={"precision": 0.9, "recall": 0.7})
    week = Window(
        names=(),
        inputs=np.empty((4, 0), np.float32),
        score=np.array([0.9, 0.6, 0.1, 0.9], np.float32),
        time=np.arange(4),
        label=np.array([1, 0, 1, -1], np.int8),
        newest=np.ones(4, bool),
        predictions=4,
    )
    quality = quality_of(week, manifest, 0.99)
    assert (quality.labelled, quality.fraud, quality.alerts, quality.found) == (3, 2, 2, 1)
    assert (quality.precision, quality.recall, quality.promised_recall) == (0.5, 0.5, 0.7)


@pytest.mark.parametrize(
    ("change", "alarm"),
    [
        ({"lag": 100_001}, "lag"),
        ({"dead_letters": 200}, "dead-letters"),
        ({"features_loaded": NOW - timedelta(hours=40)}, "features"),
        ({"features_loaded": None}, "features"),
    ],
)
def test_trouble_of_the_pipeline_is_told(change: dict, alarm: str):
    operations = Operations(**(CALM.__dict__ | change))
    assert [f.key for f in findings_of(Drift(0), UNLABELLED, operations, SETTINGS)] == [alarm]


def test_an_incident_is_told_once_and_ends_when_it_is_calm():
    lag = Finding("lag", "operations", "much")
    first = follow({}, [lag], "1")
    assert ([f.key for f in first.begun], first.ended) == (["lag"], [])
    second = follow(first.state, [lag], "2")
    assert (second.begun, [f.key for f in second.lasting]) == ([], ["lag"])
    # Once below its limit and above again: the same incident.
    swaying = follow(follow(second.state, [], "3").state, [lag], "4")
    assert (swaying.begun, swaying.ended) == ([], [])
    assert swaying.state["lag"]["since"] == "1"
    over = follow(follow(swaying.state, [], "5").state, [], "6")
    assert (over.ended, over.state) == (["lag"], {})
    assert [f.key for f in follow(over.state, [lag], "7").begun] == ["lag"]


def test_the_report_is_a_page_that_needs_no_network(history: Dataset, learnt, tmp_path: Path):
    week = window_of(history, 7)
    finding = Finding("lag", "operations", "<much>")
    path = write_report(tmp_path, "now", learnt, week, drift_of(week, learnt, 0.5), UNLABELLED, CALM, [finding])
    page = path.read_text()
    assert all(f"{name}: PSI" in page for name in learnt.reference)
    assert "&lt;much&gt;" in page
    assert 'src="plotly.min.js"' in page
    assert (tmp_path / "plotly.min.js").stat().st_size > 1_000_000
    assert 'src="http' not in page


def test_a_shops_wrong_clock_does_not_hide_the_newest_week():
    """One row dated years ahead would be the only one of its week, and make all labels overdue."""
    rows = _Rows.__new__(_Rows)
    time = np.arange(3_000) * 60
    time[7] = 32_000_000_000
    none = np.full(3_000, UNKNOWN, np.int8)
    rows._names, rows._order = ("amt",), ["amt"]
    rows._inputs, rows._scores = [np.zeros((3_000, 1), np.float32)], [0.0] * 3_000
    rows._heard = [Heard(time, none, none, np.zeros(3_000, np.int64))]
    window = rows.window(SETTINGS, TrainingSettings(), 3_000)
    assert window.newest.all()
    assert (window.label == UNKNOWN).all()
