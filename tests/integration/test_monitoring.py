"""The window that drift is looked for in, from a real Kafka."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Producer

from infra.kafka import client_config
from infra.settings import Settings
from infra.transaction_sources import encode
from monitoring.window import gather
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.manifest import plain_manifest
from simulator.population import simulate_population, write_population
from simulator.transactions import Simulation

pytestmark = pytest.mark.server


def test_a_prediction_meets_the_transaction_of_its_own_partition(settings: Settings, tmp_path: Path):
    """Both are first in their partitions; where there are more of transactions, their predictions are in one."""
    population = simulate_population(300, 20, 1)
    write_population(population, tmp_path)
    manifest = plain_manifest(b"x")
    producer = Producer(client_config(settings.kafka))
    frame = next(iter(Simulation(population, 2, 1).frames()))
    for partition, value in enumerate(itertools.islice(encode(frame).values, 2)):
        producer.produce(settings.kafka.topics.transactions, value, partition=partition)
        prediction = {
            "transaction_number": json.loads(value)["trans_num"],
            "fraud_probability": json.loads(value)["amt"] / 1_000,
            "model_version": manifest.version,
            "source_partition": partition,
            "source_offset": 0,
        }
        producer.produce(settings.kafka.topics.predictions, json.dumps(prediction).encode(), partition=0)
    assert not producer.flush(10)
    features = Features(read_feature_files(tmp_path))
    window = gather(settings.kafka, features, manifest, {}, settings.monitor, settings.training)
    amounts = window.inputs[:, window.names.index("amt")]
    assert len(set(amounts.tolist())) == 2
    np.testing.assert_allclose(window.score, amounts / 1_000, rtol=1e-5)


def test_predictions_of_a_topic_that_was_made_anew_are_left_out(settings: Settings, tmp_path: Path):
    """One names an offset that is not there yet, one the offset that another transaction has by now."""
    population = simulate_population(300, 20, 1)
    write_population(population, tmp_path)
    manifest = plain_manifest(b"x")
    producer = Producer(client_config(settings.kafka))
    first, second = itertools.islice(encode(next(iter(Simulation(population, 2, 1).frames()))).values, 2)
    for value in (first, second):
        producer.produce(settings.kafka.topics.transactions, value, partition=0)
    numbers = [json.loads(second)["trans_num"], "another's", "not there"]
    for offset, number in zip((1, 0, 1_000), numbers, strict=True):
        prediction = {
            "transaction_number": number,
            "fraud_probability": 0.5,
            "model_version": manifest.version,
            "source_partition": 0,
            "source_offset": offset,
        }
        producer.produce(settings.kafka.topics.predictions, json.dumps(prediction).encode(), partition=0)
    for foreign in (b"", b"no prediction", b'{"fraud_probability": 1}'):
        producer.produce(settings.kafka.topics.predictions, foreign, partition=0)
    assert not producer.flush(10)
    features = Features(read_feature_files(tmp_path))
    window = gather(settings.kafka, features, manifest, {}, settings.monitor, settings.training)
    assert window.inputs[:, window.names.index("amt")].tolist() == [np.float32(json.loads(second)["amt"])]
