"""What the dashboard follows in Kafka: alerts, labels, and whether scoring goes on."""

import json

import pytest
from confluent_kafka import Producer

from dashboard import labels
from dashboard.labels import ASKED, FRAUD, GENUINE, Label
from dashboard.state import Watched
from dashboard.stream import Stream
from infra.kafka import client_config, partitions
from tests.kafka_log import grow
from tests.waiting import until

pytestmark = pytest.mark.server

NO_LABELS = (
    b"not JSON",
    b"[]",
    b"\xff",
    b'{"transaction_number": 7, "verdict": "fraud"}',
    b'{"transaction_number": ["t"], "verdict": "fraud"}',
)


@pytest.fixture
def send(settings):
    producer = Producer(client_config(settings.kafka))

    def to(topic: str, value: bytes, partition: int = 0, timestamp: int = 0) -> None:
        producer.produce(topic, value, b"k", partition, timestamp=timestamp)
        assert not producer.flush(10)

    return to


def test_the_newest_label_counts_and_foreign_records_take_nothing_down(settings, send):
    topic = settings.kafka.topics.labels
    for value in (
        labels.encode(Label("t-1", ASKED, link="n")),
        *NO_LABELS,
        labels.encode(Label("t-1", FRAUD, by="ada")),
    ):
        send(topic, value)
    stream = Stream(settings, Watched("Kafka"), lambda: 0)
    until(lambda: stream.labels_read, what="the labels")
    assert stream.labels() == [Label("t-1", FRAUD, by="ada")]
    send(topic, labels.encode(Label("t-2", FRAUD)))
    assert until(lambda: stream.label("t-2"), what="the new label").decides
    until(lambda: stream.watched.state.up, what="Kafka")


def test_a_partition_that_is_added_is_followed(settings, send, monkeypatch):
    monkeypatch.setattr("dashboard.following._GROWTH_SECONDS", 0.1)
    topics = settings.kafka.topics
    stream = Stream(settings, Watched("Kafka"), lambda: 0)
    until(lambda: stream.labels_read, what="the labels")
    there = partitions(settings.kafka)
    for topic in (topics.labels, topics.alerts):
        grow(settings.kafka, topic, there[topic] + 1)
    send(topics.labels, labels.encode(Label("t-1", FRAUD)), there[topics.labels])
    send(topics.alerts, b'{"transaction_number": "a-1"}', there[topics.alerts])
    until(lambda: stream.label("t-1"), what="the label")
    until(stream.alerts, what="the alert")


def test_a_system_that_one_of_those_who_talk_to_it_misses_is_away():
    kafka = Watched("Kafka")
    kafka.up("probe")
    assert kafka.state.up
    kafka.away("no labels", "follower")
    since = kafka.state.since
    kafka.up("probe")
    assert (kafka.state.up, kafka.state.detail, kafka.state.since) == (False, "no labels", since)
    kafka.up("follower")
    assert (kafka.state.up, kafka.state.detail) == (True, "")


def test_a_watch_that_begins_again_does_not_begin_with_old_labels(settings, send, monkeypatch):
    """Until the newer ones came by again, a customer's link would be good once more."""
    topic, keep, kept = settings.kafka.topics.labels, Stream.keep, []

    def told(stream: Stream, label: Label) -> None:
        kept.append(label.verdict)
        keep(stream, label)
        if kept.count(GENUINE) == 1 and label.verdict == GENUINE:
            raise RuntimeError("as a mistake of ours would")

    monkeypatch.setattr(Stream, "keep", told)
    for verdict in (ASKED, FRAUD):
        send(topic, labels.encode(Label("t-1", verdict)))
    stream = Stream(settings, Watched("Kafka"), lambda: 0)
    until(lambda: stream.labels_read, what="the labels")
    send(topic, labels.encode(Label("t-2", GENUINE)))
    until(lambda: kept.count(GENUINE) == 2, what="the second beginning")
    assert kept == [ASKED, FRAUD, GENUINE, GENUINE]


def test_alerts_are_the_newest_of_all_partitions(settings, send):
    topic = settings.kafka.topics.alerts
    for number in range(8):
        send(topic, json.dumps({"transaction_number": f"a-{number}", "amount": 5}).encode(), number % 2)
    send(topic, b'{"transaction_number": "a-odd", "amount": "much"}')
    stream = Stream(settings, Watched("Kafka"), lambda: 0)
    until(lambda: len(stream.alerts()) == 8, what="the alerts")
    alerts = stream.alerts()
    assert {alert.transaction_number for alert in alerts} == {f"a-{number}" for number in range(8)}
    arrived = [alert.arrived_ms for alert in alerts]
    assert arrived == sorted(arrived, reverse=True)


def test_scoring_that_stands_still_is_told_and_its_rate_is_that_of_predictions(settings, send, monkeypatch):
    monkeypatch.setattr("dashboard.stream._STILL_SECONDS", 0.0)
    monkeypatch.setattr("dashboard.stream.PROBE_SECONDS", 0.1)
    passed = [0]
    stream = Stream(settings, Watched("Kafka"), lambda: passed[0])
    until(lambda: stream.samples, what="a look")
    assert stream.stands_still_since is None, "nothing waits"
    send(settings.kafka.topics.transactions, b"{}")
    until(lambda: stream.stands_still_since, what="a transaction that nobody scores")
    assert stream.samples[-1].lag == 1
    send(settings.kafka.topics.predictions, b"{}")
    passed[0] = 1
    until(lambda: any(sample.per_second > 0 for sample in stream.samples), what="a rate")
