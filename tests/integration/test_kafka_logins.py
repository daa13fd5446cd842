"""Every way to log in to a Kafka of one's own, against a real broker that asks for it.

One broker with a listener for each: SASL_SSL with PLAIN (as Confluent Cloud wants it) and SCRAM, and SSL with
a client's certificate. Our clients and the members of Hazelcast log in with the same settings.
"""

import datetime
import ipaddress
import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hazelcast.client import HazelcastClient
from pydantic import SecretStr

from infra.errors import TerminalError
from infra.group_reader import GroupReader
from infra.kafka import (
    client_config,
    delete_topics,
    ensure_topics,
    last_records,
    partitions,
    topic_names,
)
from infra.local import jars, java, kafka_server, ports, processes
from infra.local.guard import guarded
from infra.projection import Projection
from infra.settings import KafkaSettings, LocalSettings, Settings, Topics
from tests.conftest import empty
from tests.waiting import until

pytestmark = pytest.mark.server

# What a person may choose, and what a careless quotation breaks.
PASSWORD = 'it\'s 1 "long" \\ pass;word'
KEY_PASSWORD = "key password"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=INTERNAL://{host}:{internal},CONTROLLER://{host}:{controller},LOGIN://{host}:{login},CERT://{host}:{cert}
listener.security.protocol.map=INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_SSL,CERT:SSL
inter.broker.listener.name=INTERNAL
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller}
listener.name.login.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
    user_scorer="{password}";
listener.name.login.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.cert.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
"""


@dataclass
class Broker:
    """Where it answers, and the files that its clients need."""

    login: str
    cert: str
    folder: Path

    def settings(self, way: str) -> KafkaSettings:
        """How to log in that way, with topics of one's own."""
        common: dict[str, Any] = {
            "ssl_ca_location": self.folder / "ca.pem",
            "partitions": 1,
            "topics": Topics(
                **{field: f"{name}-{uuid.uuid4().hex[:8]}" for field, name in Topics().model_dump().items()}
            ),
        }
        if way == "certificate":
            return KafkaSettings(
                bootstrap_servers=self.cert,
                security_protocol="SSL",
                ssl_certificate_location=self.folder / "client.pem",
                ssl_key_location=self.folder / "client.key",
                ssl_key_password=KEY_PASSWORD,
                **common,
            )
        return KafkaSettings(
            bootstrap_servers=self.login,
            security_protocol="SASL_SSL",
            sasl_mechanism=way,
            sasl_username="scorer",
            sasl_password=PASSWORD,
            **common,
        )


MAPPINGS = "SELECT mapping_options FROM information_schema.mappings"
WAYS = ("PLAIN", "SCRAM-SHA-512", "certificate")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("logins")
    make_certificates(folder)
    internal, controller, login, cert = (ports.choose(0, setting="") for _ in range(4))
    in_jaas = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
    config = folder / "server.properties"
    config.write_text(
        PROPERTIES.format(
            host=ports.HOST,
            internal=internal,
            controller=controller,
            login=login,
            cert=cert,
            folder=folder,
            password=in_jaas.replace("\\", "\\\\"),
        )
    )
    class_path = jars.ensure(jars.locked("kafka"), LocalSettings())
    user = f"SCRAM-SHA-512=[name=scorer,password={PASSWORD}]"
    formatted = processes.run(
        java.command(
            "kafka.tools.StorageTool",
            jars=class_path,
            options=["-XX:TieredStopAtLevel=1"],
            arguments=["format", "--cluster-id=AAAAAAAAAAAAAAAAAAAAAA", f"--config={config}", "--add-scram", user],
        ),
        home=folder,
        env=java.environment(),
        seconds=60,
    )
    assert formatted.returncode == 0, formatted.stdout + formatted.stderr
    with guarded(folder):
        started = processes.spawn(
            "kafka",
            java.command("kafka.Kafka", jars=class_path, options=["-Xmx512m"], arguments=[str(config)]),
            home=folder,
            env=java.environment(),
        )
        processes.wait_until(
            lambda: kafka_server.answers(f"{ports.HOST}:{internal}"),
            started,
            home=folder,
            seconds=120,
            stopping=threading.Event(),
        )
        yield Broker(f"{ports.HOST}:{login}", f"{ports.HOST}:{cert}", folder)


@pytest.fixture
def members(client: HazelcastClient) -> Iterator[HazelcastClient]:
    empty(client)
    yield client
    empty(client)


def send(kafka: KafkaSettings, value: dict[str, Any]) -> None:
    producer = Producer(client_config(kafka) | {"transactional.id": uuid.uuid4().hex})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(kafka.topics.predictions, key=value["transaction_number"], value=json.dumps(value))
    producer.commit_transaction(20)


@pytest.mark.parametrize("way", WAYS)
def test_clients_and_members_log_in(broker: Broker, servers: Settings, members: HazelcastClient, way: str) -> None:
    kafka = broker.settings(way)
    assert ensure_topics(kafka) == dict.fromkeys(topic_names(kafka), 1)
    send(kafka, {"transaction_number": "t1", "card_token": "c1", "amount": 1.5})
    assert [message.key() for message in last_records(kafka, kafka.topics.predictions)] == [b"t1"]
    reader = GroupReader(kafka, "logins", kafka.topics.predictions)
    assert not reader.drained()
    reader.close()

    projection = Projection(members, Settings(kafka=kafka, hazelcast=servers.hazelcast))
    assert len(projection.ensure()) == 3
    until(lambda: projection.size() == 1, what="the prediction in the map")
    # Whoever may send SQL may read every mapping: none has the login.
    mappings = [row.get_object("mapping_options") for row in members.sql.execute(MAPPINGS).result()]
    assert mappings
    assert not [options for options in mappings if "jaas" in options or "keystore" in options]
    projection.drop()
    delete_topics(kafka, topic_names(kafka))


WRONG = "wr0ng-s3cret"


@pytest.mark.parametrize("way", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_says_what_to_do(broker: Broker, way: str) -> None:
    kafka = broker.settings(way).model_copy(update={"sasl_password": SecretStr(WRONG)})
    with pytest.raises(TerminalError, match="FRAUDFLOW_KAFKA__") as caught:
        ensure_topics(kafka)
    assert "uthentication failed" in str(caught.value)
    assert WRONG not in str(caught.value)


@pytest.mark.parametrize(
    ("way", "changes"),
    [
        ("certificate", {"ssl_certificate_location": None, "ssl_key_location": None}),
        ("certificate", {"ssl_key_password": SecretStr(WRONG)}),
        ("PLAIN", {"ssl_ca_location": Path("client.pem")}),
        ("PLAIN", {"ssl_ca_location": Path("nowhere.pem")}),
    ],
    ids=["no certificate", "wrong password of the key", "another authority", "a file that is not there"],
)
def test_a_wrong_certificate_says_what_to_do(broker: Broker, way: str, changes: dict[str, Any]) -> None:
    changes = {name: broker.folder / value if isinstance(value, Path) else value for name, value in changes.items()}
    with pytest.raises(TerminalError, match="FRAUDFLOW_KAFKA__") as caught:
        partitions(broker.settings(way).model_copy(update=changes))
    assert WRONG not in str(caught.value)


def test_members_with_a_wrong_password_say_what_to_do(
    broker: Broker, servers: Settings, members: HazelcastClient
) -> None:
    kafka = broker.settings("PLAIN")
    ensure_topics(kafka)
    wrong = kafka.model_copy(update={"sasl_password": SecretStr(WRONG)})
    projection = Projection(members, Settings(kafka=wrong, hazelcast=servers.hazelcast))
    with pytest.raises(TerminalError, match="FRAUDFLOW_KAFKA__") as caught:
        projection.ensure()
    assert "Authentication failed" in str(caught.value)
    assert WRONG not in str(caught.value)
    assert projection.jobs() == []


def make_certificates(folder: Path) -> None:
    """An authority, and what it vouches for: the broker at 127.0.0.1 and one client."""
    authority = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    now = datetime.datetime.now(datetime.UTC)

    def certificate(subject: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool = False) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ports.HOST))]), critical=False
            )
        )
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def private(key: ec.EllipticCurvePrivateKey, password: str | None = None) -> bytes:
        encryption = (
            serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        )
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)

    server, client = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    (folder / "ca.pem").write_bytes(certificate("authority", authority, is_authority=True))
    (folder / "server.pem").write_bytes(private(server) + certificate("broker", server))
    (folder / "client.pem").write_bytes(certificate("client", client))
    (folder / "client.key").write_bytes(private(client, KEY_PASSWORD))
