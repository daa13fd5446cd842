"""Kafka clients from the settings, and the few questions that the rooms ask a cluster."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient  # type: ignore[attr-defined] - public, not marked so
from confluent_kafka.cimpl import NewTopic

from infra.errors import TerminalError, TransientError
from infra.kafka_errors import ADVICE, STARTING, explained
from infra.settings import KafkaSettings

T = TypeVar("T")

REQUEST_TIMEOUT_SECONDS = 15.0
# How often it is looked at what librdkafka has to say while it tries.
_LISTENING_SECONDS = 1.0
# How often it is looked whether new topics are known.
_METADATA_SECONDS = 0.1
_YOUNG_SECONDS = 5.0
_REFUSALS = {KafkaError._AUTHENTICATION, KafkaError._SSL}

_LOGIN = (
    "security_protocol",
    "sasl_mechanism",
    "sasl_username",
    "sasl_password",
    "ssl_ca_location",
    "ssl_certificate_location",
    "ssl_key_location",
    "ssl_key_password",
)


def client_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Librdkafka's configuration of address and login. Holds secrets: never log it.

    Raises:
        TerminalError: no broker is named and no local stack is up.
    """
    if not kafka.bootstrap_servers:
        raise TerminalError(
            "no Kafka: start the local stack with `fraudflow up`, or name yours in FRAUDFLOW_KAFKA__BOOTSTRAP_SERVERS"
        )
    config: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        # By default the pauses between two tries to connect may grow to 10 s. Scoring is to go on within 15 s of a
        # broker's return, and a batch needs several connections: to the broker, and to two coordinators.
        "reconnect.backoff.max.ms": 1_000,
    }
    for name in _LOGIN:
        value = getattr(kafka, name)
        if value is not None:
            secret = getattr(value, "get_secret_value", None)
            config[name.replace("_", ".")] = secret() if secret else str(value)
    return config


def wait_for_brokers(client: Consumer | Producer, topic: str, timeout: float = REQUEST_TIMEOUT_SECONDS) -> None:
    """Let a new client find its brokers before it is asked for anything else.

    With the first answer librdkafka (2.16) gives up the connection that it began with. What it had asked there, or asks
    before it has another one, is late by half a second to three seconds; this question alone it asks again at once.

    Raises:
        KafkaException: no broker answers in time.
    """
    client.list_topics(topic, timeout)


def init_transactions(producer: Producer, topic: str, timeout: float) -> None:
    """Let a new producer find its brokers; then end what a predecessor of its transactional id has left open."""
    wait_for_brokers(producer, topic, min(timeout, REQUEST_TIMEOUT_SECONDS))
    producer.init_transactions(timeout)


class Admin:
    """An admin client that hears why a broker refuses it: librdkafka tells a callback, and keeps trying."""

    def __init__(self, kafka: KafkaSettings):
        self._said: list[KafkaError] = []
        self._servers = kafka.bootstrap_servers
        # What librdkafka would print of each try is in the error that `topics` ends with: it is what is asked first.
        config = client_config(kafka) | {"error_cb": self._said.append, "log_level": 0}
        try:
            self.client = AdminClient(config)
        except KafkaException as error:
            raise explained(error, "these settings make no Kafka client") from error

    def topics(self) -> dict[str, int]:
        """The number of partitions of each topic of the cluster, by name.

        Raises:
            TransientError: nobody answers.
            TerminalError: the brokers refuse our login, or we their certificate.
        """
        deadline = time.monotonic() + REQUEST_TIMEOUT_SECONDS
        while True:
            try:
                metadata = self.client.list_topics(timeout=_LISTENING_SECONDS)
            except KafkaException as error:
                self.client.poll(0)
                refusals = [said for said in self._said if said.code() in _REFUSALS or "SSL alert" in said.str()]
                # A broker that goes down in the middle of a handshake looks like one that refuses it, once.
                if len(refusals) > 1 or any(said.code() == KafkaError._AUTHENTICATION for said in refusals):
                    raise TerminalError(f"Kafka does not let us in: {refusals[-1].str()}. {ADVICE}") from error
                if time.monotonic() > deadline:
                    heard = [said for said in self._said if said.code() != KafkaError._ALL_BROKERS_DOWN]
                    why = KafkaException(heard[-1]) if heard else error
                    raise explained(why, f"Kafka at {self._servers} does not answer") from error
            else:
                return {name: len(topic.partitions) for name, topic in metadata.topics.items()}

    def replicas(self, names: Sequence[str]) -> dict[str, int]:
        """The number of replicas of each of these topics, by name."""
        topics = self.client.list_topics(timeout=REQUEST_TIMEOUT_SECONDS).topics
        return {name: len(topics[name].partitions[0].replicas) for name in names}


def topic_names(kafka: KafkaSettings) -> list[str]:
    """The names of all topics of the pipeline."""
    return list(kafka.topics.model_dump().values())


def ensure_topics(kafka: KafkaSettings) -> dict[str, int]:
    """Create the topics that are missing. Those that exist stay as they are: `infra.topic_differences` compares them.

    Returns:
        The number of partitions of each topic, by name.

    Raises:
        TransientError: the cluster did not answer in time.
    """
    admin = Admin(kafka)
    present = admin.topics()
    missing = [name for name in topic_names(kafka) if name not in present]
    futures = (
        admin.client.create_topics(
            [
                NewTopic(
                    name,
                    num_partitions=partitions_wanted(kafka, name),
                    replication_factor=kafka.replication_factor,
                    config=topic_config(kafka, name),
                )
                for name in missing
            ],
            operation_timeout=REQUEST_TIMEOUT_SECONDS,
        )
        if missing
        else {}
    )
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise explained(error, f"cannot create topic {name}") from error
    deadline = time.monotonic() + REQUEST_TIMEOUT_SECONDS
    while len(found := partitions(kafka)) < len(topic_names(kafka)):
        # The broker that is asked may not have heard of a new topic yet.
        if time.monotonic() > deadline:
            raise TransientError(f"Kafka does not show the topics {', '.join(missing)} that it created")
        time.sleep(_METADATA_SECONDS)
    return found


def partitions_wanted(kafka: KafkaSettings, name: str) -> int:
    """The records of the models' topic are one story."""
    return 1 if name == kafka.topics.models else kafka.partitions


INSYNC = "min.insync.replicas"


def topic_config(kafka: KafkaSettings, name: str) -> dict[str, str]:
    """What a topic is created with besides partitions and replicas."""
    # Business dates are old, and Kafka deletes by timestamp: topics stamp records on arrival.
    config = {"message.timestamp.type": "LogAppendTime"}
    if name == kafka.topics.models:
        config["cleanup.policy"] = "compact"
    elif name == kafka.topics.labels:
        config["retention.ms"] = "-1"  # people's verdicts cannot be computed again
    elif kafka.retention_hours:
        config["retention.ms"] = str(round(kafka.retention_hours * 3_600_000))
    if kafka.replication_factor >= 3:
        config[INSYNC] = "2"
    return config


def partitions(kafka: KafkaSettings) -> dict[str, int]:
    """The number of partitions of each topic of the pipeline that exists, by name."""
    present = Admin(kafka).topics()
    return {name: present[name] for name in topic_names(kafka) if name in present}


def known_partitions(admin: Admin, topic: str) -> int:
    """The number of partitions of a topic that ought to be there; 0 if it is not.

    A broker that has just started does not name all its topics at once, so it is asked for some seconds.
    """
    deadline = time.monotonic() + _YOUNG_SECONDS
    while not (count := admin.topics().get(topic, 0)) and time.monotonic() < deadline:
        time.sleep(_METADATA_SECONDS)
    return count


def delete_topics(kafka: KafkaSettings, names: Sequence[str]) -> list[str]:
    """Delete topics and everything in them. Returns those that existed."""
    admin = Admin(kafka)
    there = admin.topics()
    present = [name for name in names if name in there]
    futures = admin.client.delete_topics(present, operation_timeout=REQUEST_TIMEOUT_SECONDS) if present else {}
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            raise explained(error, f"cannot delete topic {name}") from error
    return present


def group_members(kafka: KafkaSettings, group_id: str) -> int:
    """The number of consumers that are in a group now."""
    try:
        admin = Admin(kafka)
        admin.topics()
        group = admin.client.describe_consumer_groups([group_id], request_timeout=REQUEST_TIMEOUT_SECONDS)[group_id]
        return len(group.result().members)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return 0
        raise explained(error, f"cannot describe group {group_id}") from error


def partitions_now(consumer: Consumer, topic: str, before: int) -> int:
    """The number of partitions that a topic has by now; `before` where a young broker does not name it yet.

    Raises:
        KafkaException: the broker does not answer.
    """
    found = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_SECONDS).topics[topic]
    return before if found.error else len(found.partitions)


def last_records(kafka: KafkaSettings, topic: str) -> list[Message]:
    """The newest committed record of each partition that has one."""
    count = partitions(kafka).get(topic, 0)
    # By default the broker holds back the news that an end is reached for half a second.
    consumer = Consumer(reader_config(kafka, "fraudflow-offsets") | {"fetch.wait.max.ms": 20})
    newest: dict[int | None, Message] = {}
    what = f"cannot read the end of {topic}"
    try:
        starts = []
        for p in range(count):
            at = TopicPartition(topic, p)
            low, high = patiently(partial(consumer.get_watermark_offsets, at, REQUEST_TIMEOUT_SECONDS), what)
            if high > low:
                starts.append(TopicPartition(topic, p, max(low, high - _LOOK_BACK)))
        for record in committed_records(consumer, starts):
            newest[record.partition()] = record
    except KafkaException as error:
        raise explained(error, what) from error
    finally:
        consumer.close()
    return list(newest.values())


# Behind the newest record stand the markers of its own and of aborted transactions; that many are read back.
_LOOK_BACK = 1_000


def reader_config(kafka: KafkaSettings, group_id: str) -> dict[str, Any]:
    """Of a consumer that is given its partitions, sees what is committed, is told each end and commits nothing."""
    return client_config(kafka) | {
        "group.id": group_id,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    }


def committed_records(consumer: Consumer, starts: list[TopicPartition]) -> Iterator[Message]:
    """Every committed record from the offsets given to the ends of their partitions.

    Raises:
        TransientError: Kafka did not deliver in time.
    """
    open_ends = {at.partition for at in starts}
    consumer.assign(starts)
    try:
        while open_ends:
            message = consumer.poll(REQUEST_TIMEOUT_SECONDS)
            if message is None:
                raise TransientError("Kafka did not deliver in time")
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                open_ends.discard(message.partition() or 0)
            else:
                raise explained(KafkaException(error), "cannot read a topic")
    finally:
        consumer.unassign()


def patiently(call: Callable[[], T], what: str) -> T:
    """Ask again while the broker is only starting.

    Raises:
        TransientError: Kafka does not answer.
        TerminalError: it refuses to.
    """
    deadline = time.monotonic() + 2 * REQUEST_TIMEOUT_SECONDS
    while True:
        try:
            return call()
        except KafkaException as error:
            if error.args[0].code() not in STARTING or time.monotonic() > deadline:
                raise explained(error, what) from error
            time.sleep(_METADATA_SECONDS)
