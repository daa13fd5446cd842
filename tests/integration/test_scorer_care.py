"""What people do with a scorer that is not well, and with what it could not score."""

import json
import threading
import time
import urllib.error
import urllib.request

import pytest
from confluent_kafka import Consumer
from hazelcast.client import HazelcastClient

from infra.dead_letters import open_letters, resend
from infra.feature_store import FeatureStore
from infra.kafka import partitions
from infra.seeding import seed
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.health import Health
from scoring.loop import ScoringLoop
from scoring.model import PROJECT_MODEL, load_model
from scoring.scorer import Scorer
from scoring.supervisor import Supervisor
from scoring.worker import EXIT_TERMINAL
from tests.conftest import environment
from tests.integration.scored import committed, drain, produce, simulated
from tests.kafka_log import read, values
from tests.waiting import until

pytestmark = pytest.mark.server


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
    produce(settings, [*strangers.values, *broken])
    worker = spawn("0", FRAUDFLOW_SCORING__DEAD_LETTER_WINDOW="400", FRAUDFLOW_SCORING__MAX_BATCH="100")
    assert worker.wait(60) == EXIT_TERMINAL
    letters = len(read(settings.kafka, settings.kafka.topics.dead_letters))
    assert 200 < letters <= 400, "what led to it is committed, and it went no further"
    # The place in the input is committed too: with a wider limit it goes on there.
    spawn("0", FRAUDFLOW_SCORING__DEAD_LETTER_SHARE="1")
    drain(settings)
    assert len(read(settings.kafka, settings.kafka.topics.dead_letters)) == 500
    assert committed(settings) == 500


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
