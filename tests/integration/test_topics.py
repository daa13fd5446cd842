"""Topics on a real Kafka: made as the settings say, left alone when they exist, and told where they differ."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, ConfigResource

from infra.group_reader import GroupReader
from infra.kafka import client_config, delete_topics, ensure_topics, topic_names
from infra.local import processes, stack
from infra.local.registry import Registry
from infra.settings import KafkaSettings, Settings, Topics
from infra.topic_differences import topic_differences
from infra.topic_reader import TopicReader
from tests.conftest import running
from tests.kafka_log import grow, read
from tests.waiting import until

pytestmark = pytest.mark.server


def _config(kafka: KafkaSettings, topic: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient(client_config(kafka))
    (future,) = admin.describe_configs([resource]).values()
    return {name: entry.value for name, entry in future.result(30).items()}


@pytest.fixture
def kafka(settings: Settings) -> Iterator[KafkaSettings]:
    """Settings for topics that are not there yet."""
    names = {field: f"{name}-new" for field, name in settings.kafka.topics.model_dump().items()}
    wanted = {"topics": Topics(**names), "partitions": 3, "retention_hours": 48}
    fresh = settings.kafka.model_copy(update=wanted)
    yield fresh
    delete_topics(fresh, topic_names(fresh))


def test_topics_are_made_as_the_settings_say_and_then_left_alone(kafka: KafkaSettings) -> None:
    made = ensure_topics(kafka)
    assert set(made) == set(topic_names(kafka))
    assert made.pop(kafka.topics.models) == 1, "the records of the models are one story"
    assert set(made.values()) == {3}
    assert topic_differences(kafka) == []
    config = _config(kafka, kafka.topics.predictions)
    assert (config["retention.ms"], config["message.timestamp.type"]) == (str(48 * 3_600_000), "LogAppendTime")
    assert _config(kafka, kafka.topics.labels)["retention.ms"] == "-1", "verdicts are kept"

    other = kafka.model_copy(update={"partitions": 5, "retention_hours": 24})
    assert ensure_topics(other).items() >= made.items(), "what exists is not changed behind anybody's back"
    assert _config(kafka, kafka.topics.predictions) == config


def test_where_topics_are_not_as_the_settings_say_is_told(settings: Settings) -> None:
    other = settings.kafka.model_copy(update={"partitions": 6, "replication_factor": 3, "retention_hours": 24})
    differences = topic_differences(other)
    name = other.topics.transactions
    assert {str(one) for one in differences if one.topic == name} == {
        f"topic {name} has partitions 4, and the settings say 6",
        f"topic {name} has replication factor 1, and the settings say 3",
        f"topic {name} has retention.ms 604800000, and the settings say 86400000",
        f"topic {name} has min.insync.replicas 1, and the settings say 2",
    }
    assert {one.topic for one in differences} == set(topic_names(other))
    assert f"topic {other.topics.models} has partitions 1, and the settings say 6" not in map(str, differences)
    assert {one.what for one in differences if one.risks_loss} == {"replication factor", "min.insync.replicas"}
    fewer = settings.kafka.model_copy(update={"partitions": 2})
    assert topic_differences(fewer) == [], "more than was asked for does no harm"


def test_a_groups_lag_counts_the_partitions_that_were_added_while_it_was_watched(kafka: KafkaSettings) -> None:
    ensure_topics(kafka)
    topic = kafka.topics.transactions
    reader = GroupReader(kafka, "watched", topic)
    try:
        assert (reader.lag(), reader.drained()) == (0, True)
        grow(kafka, topic, 4)
        producer = Producer(client_config(kafka))
        refused: list[KafkaError] = []
        producer.produce(
            topic, b"to the new one", partition=3, on_delivery=lambda error, _: refused.append(error) if error else None
        )
        assert (producer.flush(30), refused) == (0, [])
        until(lambda: reader.lag() == 1, 30, "the lag of the new partition")
        assert reader.lag({3}) == 1
        assert reader.lag({0, 1, 2}) == 0
        assert not reader.drained()
    finally:
        reader.close()


def test_what_stands_in_a_transaction_that_is_not_over_is_not_drained(kafka: KafkaSettings) -> None:
    ensure_topics(kafka)
    topic = kafka.topics.transactions
    producer = Producer(client_config(kafka) | {"transactional.id": "undecided"})
    producer.init_transactions(30)
    reader = GroupReader(kafka, "watched", topic)
    try:
        producer.begin_transaction()
        producer.produce(topic, b"perhaps", partition=0)
        assert producer.flush(30) == 0
        assert not reader.drained()
        producer.abort_transaction(30)
        until(reader.drained, 30, "an aborted transaction left nothing to score")
        producer.begin_transaction()
        producer.produce(topic, b"there", partition=0)
        producer.commit_transaction(30)
        assert not reader.drained()
    finally:
        reader.close()


def test_a_reader_of_ends_goes_on_after_the_brokers_restart(tmp_path: Path) -> None:
    with running(tmp_path, {stack.KAFKA}) as settings:
        ensure_topics(settings.kafka)
        reader = TopicReader(settings.kafka, settings.kafka.topics.predictions)
        assert set(reader.ends().values()) == {0}
        broker = Registry(tmp_path).started(stack.KAFKA)
        assert broker is not None
        processes.stop([psutil.Process(broker.pid)], grace_seconds=30)
        stack.up(Settings(local=settings.local), services={stack.KAFKA})
        assert set(reader.ends().values()) == {0}
        reader.close()


def test_a_reader_does_not_pass_over_records_without_a_value(settings: Settings):
    """Those that close dead letters, and transactions that are empty: a message of librdkafka is false then."""
    producer = Producer(client_config(settings.kafka))
    for key, value in (("a", None), ("b", b""), ("c", None), ("d", b"x"), ("e", None)):
        producer.produce(settings.kafka.topics.dead_letters, value, key, 0)
    assert producer.flush(30) == 0
    found = read(settings.kafka, settings.kafka.topics.dead_letters)
    assert [message.key() for message in found] == [b"a", b"b", b"c", b"d", b"e"]
