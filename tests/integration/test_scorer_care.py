"""What people do with a scorer that is not well, and with what it could not score."""

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from hazelcast.client import HazelcastClient

from infra.dead_letters import open_letters, resend
from infra.feature_store import FeatureStore
from infra.kafka import client_config, group_members, partitions
from infra.local import ports
from infra.seeding import seed
from infra.settings import Settings
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.health import Health
from scoring.loop import ScoringLoop
from scoring.model import PROJECT_MODEL, load_model
from scoring.scorer import Scorer
from scoring.supervisor import Supervisor
from scoring.worker import EXIT_TERMINAL
from tests.conftest import environment
from tests.integration.scored import committed, drain, produce, simulated, written
from tests.kafka_log import read, values
from tests.models import saved, trained
from tests.waiting import until

pytestmark = pytest.mark.server


@pytest.fixture
def port() -> int:
    return ports.choose(0, setting="")


def touched_again(heartbeat: Path) -> None:
    """Wait until a scorer says anew that it moves."""
    os.utime(heartbeat, (1, 1))
    until(lambda: heartbeat.stat().st_mtime > 1, what="the next heartbeat")


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - our own server
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def health(url: str) -> tuple[int, str]:
    status, body = get(f"{url}/health")
    return status, json.loads(body)["state"]


def test_too_many_dead_letters_stop_scoring_with_their_reasons(settings, client: HazelcastClient, spawn, population):
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    (strangers,) = simulated(made, 500).records(0)
    broken = [value.replace(b'"merchant":"', b'"merchant":"not ') for value in strangers.values]
    produce(settings, strangers.values)
    worker = spawn("0", FRAUDFLOW_SCORING__DEAD_LETTER_WINDOW="400", FRAUDFLOW_SCORING__MAX_BATCH="100")
    drain(settings)  # together, they would be mixed as the broker hands its partitions out
    produce(settings, broken)
    assert worker.wait(60) == EXIT_TERMINAL
    letters = len(read(settings.kafka, settings.kafka.topics.dead_letters))
    assert 200 < letters <= 400, "what led to it is committed, and it went no further"
    # The place in the input is committed too: with a wider limit it goes on there.
    spawn("0", FRAUDFLOW_SCORING__DEAD_LETTER_SHARE="1")
    drain(settings)
    assert len(read(settings.kafka, settings.kafka.topics.dead_letters)) == 500
    assert committed(settings) == 500


def test_a_scorer_that_nobody_supervises_stands_aside_and_is_not_restarted(
    settings, client: HazelcastClient, spawn, population, port: int, tmp_path: Path
):
    """What restarts a container knows no exit code: each start would make as many dead letters again."""
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    (strangers,) = simulated(made, 500).records(0)
    produce(settings, [value.replace(b'"merchant":"', b'"merchant":"not ') for value in strangers.values])
    worker: subprocess.Popen = spawn(
        "0",
        options=("--heartbeat", str(tmp_path / "heartbeat")),
        FRAUDFLOW_SCORING__DEAD_LETTER_WINDOW="200",
        FRAUDFLOW_SCORING__MAX_BATCH="100",
        FRAUDFLOW_SCORING__HEALTH_PORT=str(port),
    )
    log, url = tmp_path / "scorer-0.log", f"http://127.0.0.1:{port}"
    until(lambda: "has left the group" in log.read_text() or worker.poll() is not None, what="the breaker")
    assert worker.poll() is None
    assert group_members(settings.kafka, settings.scoring.group_id) == 0
    status, state = health(url)
    assert status == 503
    assert "are dead letters (unknown merchant" in state
    assert "start the scorers again" in state
    assert "fraudflow_scorer_healthy 0.0" in get(f"{url}/metrics")[1]
    touched_again(tmp_path / "heartbeat")
    assert len(read(settings.kafka, settings.kafka.topics.dead_letters)) <= 300
    worker.terminate()
    assert worker.wait(10) == 0


def open_transaction(settings: Settings) -> Producer:
    """A transaction in every partition of the input that has not ended: readers stand in front of it."""
    own = {"transactional.id": f"{settings.scoring.group_id}-open", "transaction.timeout.ms": 900_000}
    producer = Producer(client_config(settings.kafka) | own)
    producer.init_transactions(30)
    producer.begin_transaction()
    for partition in range(settings.kafka.partitions):
        producer.produce(settings.kafka.topics.transactions, b"never committed", partition=partition)
    assert producer.flush(30) == 0
    return producer


def commit_all(settings: Settings) -> None:
    """The group has scored everything, by a model that had no history and left no bookmark."""
    # Otherwise the end of a partition is told to be in front of an open transaction.
    uncommitted = {"group.id": settings.scoring.group_id, "isolation.level": "read_uncommitted"}
    consumer = Consumer(client_config(settings.kafka) | uncommitted)
    try:
        ends = []
        for partition in range(settings.kafka.partitions):
            at = TopicPartition(settings.kafka.topics.transactions, partition)
            at.offset = consumer.get_watermark_offsets(at, timeout=30)[1]
            ends.append(at)
        consumer.commit(offsets=ends, asynchronous=False)
    finally:
        consumer.close()


def test_a_scorer_that_reads_a_history_back_says_so_lives_and_stops_when_it_is_told(
    settings, client: HazelcastClient, spawn, population, port: int, tmp_path: Path
):
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    seed(settings.kafka, simulated(made, 1_000), "past")
    # So the log cannot be read to the committed offsets, for as long as the test wants.
    standing = open_transaction(settings)
    commit_all(settings)
    options = {
        "FRAUDFLOW_SCORING__MODEL": str(saved(trained(), tmp_path)),
        "FRAUDFLOW_SCORING__HEALTH_PORT": str(port),
    }
    heartbeat = tmp_path / "heartbeat"
    worker = spawn("0", options=("--heartbeat", str(heartbeat)), **options)
    until(heartbeat.exists, what="the first heartbeat")

    def state() -> tuple[int, str] | None:
        try:
            return health(f"http://127.0.0.1:{port}")
        except urllib.error.URLError:
            return None

    until(lambda: state() == (200, "reading histories back"), what="the state")
    touched_again(heartbeat)
    worker.terminate()
    assert worker.wait(10) == 0
    # Nothing is lost by that: the next one reads from where that one did.
    standing.abort_transaction(30)
    assert written(settings) == 0
    seed(settings.kafka, simulated(made, 300), "present")
    spawn("0", **options)
    drain(settings)
    assert committed(settings) == 300


def test_dead_letters_are_sent_again_once_when_they_can_be_scored(
    settings, client, spawn, population, tmp_path, capsys
):
    made, directory = population
    ((_, good),) = simulated(made, 3).records(0)
    produce(settings, [good[0], good[1].replace(b'"amt":', b'"amt":"x'), b"\xff", good[2].replace(b":4", b":5", 1)])
    FeatureStore(client).load(read_feature_files(directory))
    spawn("0")
    drain(settings)
    letters = {letter.reason: letter for letter in open_letters(settings.kafka)}
    assert sorted(letters) == ["malformed", "unknown customer"]
    assert len(open_letters(settings.kafka)) == 3
    repaired = {letter.key: good[1] for letter in open_letters(settings.kafka) if letter.detail.count("amt")}
    assert resend(settings.kafka, set(repaired), repaired) == (1, [])
    # Whoever asks later, or at the same time, sends it no second time.
    assert resend(settings.kafka, set(repaired), repaired) == (0, [])
    everything = {letter.key for letter in open_letters(settings.kafka)}
    assert len(everything) == 2
    assert not everything & set(repaired)
    drain(settings)
    found = {p["transaction_number"] for p in values(settings.kafka, settings.kafka.topics.predictions)}
    assert found == {json.loads(good[0])["trans_num"], json.loads(good[1])["trans_num"]}
    # What still cannot be scored is a dead letter again, under its new place.
    assert resend(settings.kafka, everything, {}) == (2, [])
    drain(settings)
    again = {letter.key for letter in open_letters(settings.kafka)}
    assert len(again) == 2
    assert not again & everything


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_every_transaction_is_scored_once_when_nothing_fails(settings, client, spawn, population, delivery):
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    seed(settings.kafka, simulated(made, 5_000), "calm")
    spawn("0", FRAUDFLOW_SCORING__DELIVERY=delivery)
    drain(settings)
    numbers = [p["transaction_number"] for p in values(settings.kafka, settings.kafka.topics.predictions)]
    assert len(numbers) == len(set(numbers)) == 5_000


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_the_scorers_consumer_waits_for_no_other_thread(settings, client, population, monkeypatch, delivery):
    made, directory = population
    callers = set()

    class Watched(Consumer):
        def __getattribute__(self, name: str):
            callers.add(threading.current_thread())
            return super().__getattribute__(name)

    monkeypatch.setattr("scoring.consumer.Consumer", Watched)
    monkeypatch.setattr("scoring.health.ASK_SECONDS", 0.05)
    seed(settings.kafka, simulated(made, 300), "alone")
    settings.scoring.delivery = delivery
    scorer = Scorer(load_model(PROJECT_MODEL), Features(read_feature_files(directory)), settings.scoring)
    loop = ScoringLoop(settings, scorer, "0", partitions(settings.kafka)[settings.kafka.topics.predictions])
    health = Health(settings, lambda: "")
    health.watch(loop, scorer)
    end = time.monotonic() + 60

    def done() -> bool:
        asked = health.report()["lag"] is not None
        return (asked and loop.counters.predictions == 300) or time.monotonic() > end

    try:
        loop.run(done, lambda: None)
    finally:
        health.stop()
    assert loop.counters.predictions == committed(settings) == 300
    assert callers == {threading.current_thread()}


def test_health_turns_red_when_the_broker_freezes_and_green_again(settings, client, population, broker):
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    supervisor = Supervisor(1, directory / "logs-health", environment(settings))
    try:
        (url,) = until(lambda: supervisor.tick().urls, what="a scorer's address")
        until(lambda: health(url) == (200, "scoring"), what="a green health")
        seed(settings.kafka, simulated(made, 300), "health")
        until(lambda: "fraudflow_scorer_predictions_total 300.0" in get(f"{url}/metrics")[1], what="300 predictions")
        broker.suspend()
        try:
            until(lambda: health(url)[0] == 503, 10, "a red health")
        finally:
            broker.resume()
        until(lambda: health(url) == (200, "scoring"), what="a green health")
    finally:
        supervisor.drain()
