"""A log scored live and the same log as training computes it: the same inputs and answers, bit for bit."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Producer

from infra.errors import TerminalError
from infra.feature_store import FeatureStore
from infra.kafka import client_config
from infra.model_store import Bounds, ModelStore, Package, RolesChanged
from infra.seeding import seed
from infra.settings import Settings
from scoring.feature_files import read_feature_files
from scoring.features import MODEL_INPUTS, Features
from scoring.history import ONLINE_INPUTS
from scoring.model import PROJECT_MODEL, unpack_model
from simulator.population import read_population
from tests.integration.scored import drain, produce, simulated
from tests.kafka_log import values
from tests.models import saved, trained
from training import dataset
from training.labels import UNKNOWN, Said, read_labels
from training.rollout import champion_of, make_champion, stop_trial, try_beside
from training.sources import pieces_of, pieces_of_topic
from training.split import split_by_time

pytestmark = pytest.mark.server

COUNT = 12_000
INPUTS = (*MODEL_INPUTS, *ONLINE_INPUTS)


def test_a_log_is_the_same_live_and_in_training(settings: Settings, client, spawn, population: tuple, tmp_path: Path):
    made, directory = population
    tables = read_feature_files(directory)
    FeatureStore(client).load(tables)
    package = trained(INPUTS)
    seed(settings.kafka, simulated(made, COUNT), "live")
    produce(settings, [b"poison"] * 7)
    spawn("0", FRAUDFLOW_SCORING__MODEL=str(saved(package, tmp_path)), FRAUDFLOW_SCORING__MAX_BATCH="777")
    drain(settings)

    features = Features(tables)
    built = dataset.build(pieces_of_topic(settings.kafka), features, {}, tmp_path / "topic", {"source": "topic"})
    file = simulated(read_population(directory), COUNT)
    unsent = dataset.build(pieces_of(file, settings.kafka), features, {}, tmp_path / "file", {"source": "file"})
    assert built.meta["dead_letters"] == {"malformed": 7}

    live = values(settings.kafka, settings.kafka.topics.predictions)
    inputs = built.matrix(np.arange(COUNT), ONLINE_INPUTS)
    probability = unpack_model(package).predict(built.matrix(np.arange(COUNT), INPUTS))[0]
    assert len(live) == COUNT
    for partition in range(settings.kafka.partitions):
        answers = [p for p in live if p["source_partition"] == partition]
        rows = np.flatnonzero(built.partition == partition)
        seen = np.array([[p[name] for name in ONLINE_INPUTS] for p in answers], np.float32)
        assert len(rows) == len(answers) > 0
        assert seen.tobytes() == inputs[rows].tobytes()
        assert np.array([p["fraud_probability"] for p in answers], np.float32).tobytes() == probability[rows].tobytes()
        # What has not been sent yet is partitioned as the producer does it, and so is the same too.
        before = np.flatnonzero(unsent.partition == partition)
        assert unsent.inputs[before].tobytes() == built.inputs[rows].tobytes()


def test_verdicts_of_the_topic_are_learnt_from_when_they_had_come(
    settings: Settings, population: tuple, tmp_path: Path
):
    made, directory = population
    seed(settings.kafka, simulated(made, COUNT), "labels")
    log = values(settings.kafka, settings.kafka.topics.transactions)
    features = Features(read_feature_files(directory))

    def built(labels: dict[str, Said], name: str) -> dataset.Dataset:
        return dataset.build(pieces_of_topic(settings.kafka), features, labels, tmp_path / name, {"source": "topic"})

    before = built({}, "before")
    rows = split_by_time(before, settings.training).fit.rows
    honest = rows[before.own[rows] == 0][:3].tolist()
    first, second, third = (log[row]["trans_num"] for row in honest)
    now = datetime.now(UTC)
    say(settings, first, "fraud", now.isoformat())
    say(settings, first, "fraud", (now + timedelta(hours=1)).isoformat())
    say(settings, second, "asked", now.isoformat())
    say(settings, third, "genuine", now.isoformat())
    say(settings, third, "fraud", "2999-01-01T00:00:00+00:00")
    producer = Producer(client_config(settings.kafka))
    producer.produce(settings.kafka.topics.labels, b"no label", "x")
    assert producer.flush(30) == 0
    labels = read_labels(settings.kafka)
    assert {number: said.fraud for number, said in labels.items()} == {first: True, third: True}
    assert labels[first].at == pytest.approx(now.timestamp(), abs=1), "said again, it is known no later"
    assert labels[third].at < time.time() + 60, "nothing is said after Kafka took it"

    after = built(labels, "after")
    assert (after.said != UNKNOWN).sum() == 2
    split = split_by_time(after, settings.training)
    label = dict(zip(split.fit.rows.tolist(), split.fit.label.tolist(), strict=True))
    assert [label[row] for row in honest] == [1, 0, 1]


def say(settings: Settings, number: str, verdict: str, at: str) -> None:
    producer = Producer(client_config(settings.kafka))
    label = {"transaction_number": number, "verdict": verdict, "source": "analyst", "by": "a", "at": at}
    producer.produce(settings.kafka.topics.labels, json.dumps(label), number)
    assert producer.flush(30) == 0


def test_a_model_is_tried_beside_the_champion_and_taken_out_again(settings: Settings):
    settings.scoring.model = str(PROJECT_MODEL.with_name("static.onnx"))
    store, one, other = ModelStore(settings.kafka), trained(seed=1), trained(seed=2)
    first = champion_of(store, settings).version
    with pytest.raises(TerminalError, match="no model is being tried"):
        stop_trial(store, "")

    # The model that scorers begin with, which is in no role yet, becomes the champion by that.
    shadow = try_beside(store, settings, one, None, Bounds(), "to look at it")
    assert (shadow.champion, shadow.challenger, shadow.mode) == (first, one.version, "shadow")
    canary = try_beside(store, settings, other, 0.1, Bounds(after=5), "on some cards")
    assert (canary.champion, canary.challenger, canary.canary_share) == (first, other.version, 0.1)
    assert canary.bounds.after == 5
    alone = stop_trial(store, "enough")
    assert (alone.champion, alone.challenger, alone.mode, alone.canary_share) == (first, None, None, 0)

    assert make_champion(store, settings, one, first, "better").champion == one.version
    assert champion_of(store, settings).model == one.model
    # A step that is tried again because what comes after it failed.
    assert make_champion(store, settings, one, first, "again").why == "better"


def test_a_model_replaces_the_champion_that_it_was_compared_with_and_no_other(settings: Settings):
    settings.scoring.model = str(PROJECT_MODEL.with_name("static.onnx"))
    one, other, late = (trained(seed=seed) for seed in (1, 2, 3))

    class Overtaken(ModelStore):
        """Somebody crowns another between the look at the champion and the change of the roles."""

        def publish(self, package: Package) -> str:
            make_champion(store, settings, other, one.version, "at the same time")
            return super().publish(package)

    store = ModelStore(settings.kafka)
    make_champion(store, settings, one, champion_of(store, settings).version, "the first")
    with pytest.raises(RolesChanged):
        make_champion(Overtaken(settings.kafka), settings, late, one.version, "too late")
    # The step is tried again.
    with pytest.raises(TerminalError, match=f"meanwhile {other.version} became the champion: compare again"):
        make_champion(store, settings, late, one.version, "too late")
    assert champion_of(store, settings).version == other.version
    make_champion(store, settings, late, other.version, "compared again")
    assert champion_of(store, settings).version == late.version
