"""Scorer processes between a real Kafka and a real Hazelcast: every transaction answered, once."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hazelcast.client import HazelcastClient

from infra.errors import InputError, TerminalError
from infra.feature_store import FeatureStore
from infra.seeding import seed
from infra.transaction_sources import open_source
from scoring.feature_files import read_feature_files
from scoring.supervisor import Supervisor
from simulator.population import write_population
from simulator.transactions import Simulation
from tests.conftest import PROJECT, environment
from tests.integration.scored import committed, drain, produce, simulated, written
from tests.kafka_log import read, values
from tests.waiting import until

SENT = 100_000
STRANGER = (
    b'{"cc_num":4999999999999991,"trans_num":"unknown","amt":1.0,"merchant":"Nobody",'
    b'"transaction_date":"2025-01-01 00:00:00","merch_lat":1,"merch_long":1,"is_fraud":0}'
)


def test_the_reference_pipelines_answers_are_reproduced(settings, client: HazelcastClient, spawn, reference: Path):
    FeatureStore(client).load(read_feature_files(reference))
    seed(settings.kafka, open_source(reference / "1k-transactions.csv"), "reference")
    spawn(
        "0",
        FRAUDFLOW_SCORING__MODEL=str(reference / "lightgbm_fraud_detection_onnx"),
        FRAUDFLOW_SCORING__MASK_CARD_NUMBERS="false",
    )
    drain(settings)
    found = {p["transaction_number"]: p for p in values(settings.kafka, settings.kafka.topics.predictions)}
    expected = [json.loads(line) for line in (reference / "predictions-1k.jsonl").read_text().splitlines()]
    assert len(found) == len(expected) == 999
    for theirs in expected:
        ours = found[theirs["transaction_number"]]
        assert ours["fraud_probability"] == pytest.approx(theirs.pop("fraud_probability"), abs=1e-5)
        assert ours["distance_from_home"] == pytest.approx(theirs.pop("distance_from_home"), abs=0.01)
        assert {name: ours[name] for name in theirs} == theirs
    assert values(settings.kafka, settings.kafka.topics.dead_letters) == []


def test_a_killed_scorer_loses_and_doubles_nothing(settings, client: HazelcastClient, spawn, population):
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    seed(settings.kafka, simulated(made, SENT), "kill")
    # A commit for every twenty transactions: many moments in which to die, and far from the end when it does.
    scorer = spawn("0", FRAUDFLOW_SCORING__MAX_BATCH="20")
    until(lambda: written(settings) > 2_000, what="progress")
    scorer.send_signal(signal.SIGKILL)
    scorer.wait()
    assert written(settings) < SENT
    spawn("0")
    drain(settings)
    sources = [
        (p["source_partition"], p["source_offset"]) for p in values(settings.kafka, settings.kafka.topics.predictions)
    ]
    sent = [(m.partition(), m.offset()) for m in read(settings.kafka, settings.kafka.topics.transactions)]
    assert len(sent) == SENT
    assert Counter(sources) == Counter(sent)
    # In order too: offsets rise within each partition.
    for partition in {p for p, _ in sources}:
        offsets = [offset for p, offset in sources if p == partition]
        assert offsets == sorted(offsets)


def test_sigterm_commits_what_was_taken_and_leaves_the_group(settings, client, spawn, population):
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    seed(settings.kafka, simulated(made, 20_000), "term")
    scorer = spawn("0", FRAUDFLOW_SCORING__MAX_BATCH="500")
    until(lambda: written(settings) > 1_000, what="progress")
    scorer.terminate()
    assert scorer.wait(10) == 0
    seen = committed(settings)
    spawn("0")
    drain(settings)
    sources = [
        (p["source_partition"], p["source_offset"]) for p in values(settings.kafka, settings.kafka.topics.predictions)
    ]
    assert seen <= len(sources) == len(set(sources)) == 20_000


def test_bad_input_is_in_dead_letters_once_and_masked(settings, client, spawn, population, tmp_path: Path):
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    frame = next(iter(Simulation(made, 999, 1).frames()))
    path = tmp_path / "transactions.csv"
    frame.write_csv(path)
    stranger = "4999999999999991,unknown,1.0,Nobody,2025-01-01 00:00:00,1,1,0"
    path.write_text(path.read_text() + "not,a,row\n" + stranger + "\n")
    seed(settings.kafka, open_source(path), "bad")
    # Both would be more than Kafka takes: the prediction, and the dead letter of what could not be one.
    ((_, (valid, *_)),) = simulated(made, 1).records(0)
    produce(settings, [valid.replace(b'"trans_num":"', b'"trans_num":"' + b"x" * 600_000), b"{" * 990_000])
    spawn("0", FRAUDFLOW_SCORING__DEAD_LETTER_BYTES="500000")
    drain(settings)
    assert committed(settings) == 999
    letters = Counter(d["reason"] for d in values(settings.kafka, settings.kafka.topics.dead_letters))
    assert letters == {"malformed": 2, "unknown customer": 1, "invalid value": 1}
    for message in read(settings.kafka, settings.kafka.topics.dead_letters):
        assert b"4999999999999991" not in (message.value() or b"")


def test_without_a_manifest_a_scorer_waits_and_then_goes_on(settings, client, spawn, population):
    made, directory = population
    seed(settings.kafka, simulated(made, 500), "wait")
    supervisor = Supervisor(1, settings.local.home / "logs", environment(settings))
    try:
        state = "waiting for features: no manifest in Hazelcast, run load-features"
        until(lambda: supervisor.tick().state == state, what="the state that says what is missing")
        assert committed(settings) == 0
        FeatureStore(client).load(read_feature_files(directory))
        until(lambda: supervisor.tick().predictions == 500, what="500 predictions")
    finally:
        totals = supervisor.drain()
    assert totals.dead_letters == 0
    assert supervisor.pids() == []


def test_a_scorer_that_dies_is_started_again(settings, client, population, tmp_path: Path):
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    supervisor = Supervisor(1, tmp_path, environment(settings))
    try:
        until(lambda: supervisor.tick().state == "scoring", what="a scorer at work")
        os.kill(supervisor.pids()[0], signal.SIGKILL)
        until(lambda: supervisor.tick().restarts == 1, what="the restart")
        seed(settings.kafka, simulated(made, 300), "restart")
        until(lambda: supervisor.tick().predictions == 300, what="300 predictions")
    finally:
        supervisor.drain()


@pytest.mark.parametrize("resident", ["all customers", "those that it sees"])
def test_new_features_are_taken_up_while_it_runs(
    settings, client, spawn, population, tmp_path: Path, monkeypatch, resident: str
):
    monkeypatch.setattr("infra.feature_store.SNAPSHOT_ROWS", 50)
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    seed(settings.kafka, simulated(made, 100), "before")
    produce(settings, [STRANGER])
    spawn(
        "0",
        FRAUDFLOW_SCORING__FEATURE_POLL_SECONDS="0.1",
        FRAUDFLOW_SCORING__RESIDENT_CUSTOMERS="2000" if resident == "all customers" else "1999",
    )
    drain(settings)
    assert committed(settings) == 100
    assert [d["reason"] for d in values(settings.kafka, settings.kafka.topics.dead_letters)] == ["unknown customer"]
    moved = dataclasses.replace(made, customers=made.customers.with_columns(city=pl.lit("Newtown")))
    write_population(moved, tmp_path / "moved")
    newer = read_feature_files(tmp_path / "moved")
    FeatureStore(client).load(newer)

    def scored_with_newer() -> bool:
        seed(settings.kafka, simulated(made, 10), os.urandom(4).hex())
        drain(settings)
        found = values(settings.kafka, settings.kafka.topics.predictions)
        versions = {(p["features_version"] == newer.version, p["customer_city"] == "Newtown") for p in found}
        assert versions <= {(True, True), (False, False)}, "a prediction mixes two versions"
        return (True, True) in versions

    until(scored_with_newer, what="a prediction with the new features")


def test_a_scorer_ends_with_its_supervisor(settings, client, population, tmp_path: Path):
    _, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    code = (
        "import sys, time; from pathlib import Path; from scoring.supervisor import Supervisor\n"
        f"s = Supervisor(2, Path({str(tmp_path)!r}), {{}})\n"
        "while True:\n"
        "    s.tick(); print(*s.pids(), flush=True); time.sleep(0.1)\n"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | environment(settings), cwd=PROJECT, stdout=subprocess.PIPE
    )
    assert supervisor.stdout is not None
    pids = [int(pid) for pid in supervisor.stdout.readline().split()]
    assert len(pids) == 2
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="the scorers gone")


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"not a model", "is not a valid ONNX model"), (None, "cannot read the model")],
)
def test_a_model_that_cannot_be_used_is_told_at_once(settings, tmp_path: Path, content, problem):
    model = tmp_path / "model.onnx"
    if content is not None:
        model.write_bytes(content)
    supervisor = Supervisor(1, tmp_path, environment(settings) | {"FRAUDFLOW_SCORING__MODEL": str(model)})
    try:
        with pytest.raises(TerminalError, match=problem):
            until(lambda: supervisor.tick() and False, what="the error")
    finally:
        supervisor.drain()


def test_a_missing_column_is_told_before_anything_is_sent(settings, tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("cc_num,amt\n1,2\n")
    with pytest.raises(InputError, match="lacks the columns"):
        open_source(path)
