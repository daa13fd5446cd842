"""The projection of `Predictions` into Hazelcast: SQL jobs that run on the members, and can always be rebuilt.

A job and its mappings die with the last member. `ensure` makes what is missing, from the earliest offset; the
maps are keyed, so reading the topic twice changes nothing.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hazelcast.client import HazelcastClient
from hazelcast.errors import HazelcastError
from hazelcast.sql import HazelcastSqlError

from infra.errors import TerminalError, TransientError
from infra.hazelcast import PREDICTIONS, PROJECTED, connect
from infra.projection_sql import JOBS, MAPPINGS, TOPIC_MAPPING
from infra.settings import KafkaSettings, Settings

logger = logging.getLogger(__name__)

# Java's names of what a broker, or a client of it, does not put up with.
_REFUSALS = ("AuthenticationException", "AuthorizationException", "SSLHandshakeException", "KafkaException: Failed to")
_REFUSAL_SECONDS = 10.0


class Projection:
    """The mappings and jobs on one cluster."""

    def __init__(self, client: HazelcastClient, settings: Settings):
        self._client = client
        self._settings = settings

    def ensure(self) -> list[str]:
        """Make the mappings and jobs that are missing. Returns the names of the jobs it had to create.

        Raises:
            TerminalError: the brokers refuse the members' login, or they the brokers' certificate.
            TransientError: the cluster does not answer.
        """
        missing = [job for job in JOBS if job not in self.jobs()]
        if not missing:
            return []
        for name, mapping in MAPPINGS.items():
            self._execute(mapping.statement(name))
        try:
            # As text: to parse a prediction costs the members more than all else that they do with it.
            self._execute(
                f'CREATE OR REPLACE EXTERNAL MAPPING "{TOPIC_MAPPING}" '
                f'EXTERNAL NAME "{self._settings.kafka.topics.predictions}" (__key VARCHAR, this VARCHAR) '
                f"TYPE Kafka OPTIONS ({_options(self._kafka_options())})"
            )
            self._look_into_topic()
            for job in missing:
                # A snapshot remembers the offsets, so that a member's death repeats a second's rows, not the topic.
                self._execute(
                    f'CREATE JOB IF NOT EXISTS "{job}" OPTIONS '
                    f"('processingGuarantee'='atLeastOnce', 'snapshotIntervalMillis'='1000') AS {JOBS[job]}"
                )
                logger.info("created job %s", job)
        finally:
            # The jobs have what they need of them, and anyone who can send SQL could read the login in them.
            self._execute(f'DROP MAPPING IF EXISTS "{TOPIC_MAPPING}"')
        return missing

    def jobs(self) -> list[str]:
        """The names of the projection's jobs that exist."""
        names = [row.get_object_with_index(0) for row in self._query("SHOW JOBS")]
        return [name for name in names if name in JOBS]

    def size(self) -> int:
        """Predictions in the map."""
        return int(self._client.get_map(PREDICTIONS).size().result())

    def drop(self) -> list[str]:
        """Stop the jobs and drop the mappings. Returns the names of the jobs that ran."""
        running = self.jobs()
        for job in running:
            self._execute(f'DROP JOB IF EXISTS "{job}"')
        for mapping in (TOPIC_MAPPING, *MAPPINGS):
            self._execute(f'DROP MAPPING IF EXISTS "{mapping}"')
        return running

    def clear(self) -> None:
        """Empty the maps."""
        for name in PROJECTED:
            self._client.get_map(name).clear().result()

    def rebuild(self) -> None:
        """Empty the maps and read the whole topic again."""
        self.drop()
        self.clear()
        self.ensure()

    def _look_into_topic(self) -> None:
        """Find out whether the members can read the topic: of a job, SQL says no more than that it is there."""
        if not java_login(self._settings.kafka):
            return
        answered = threading.Event()
        result = self._call(lambda: self._client.sql.execute(f'SELECT 1 FROM "{TOPIC_MAPPING}" LIMIT 1').result())
        try:
            first = next(result.iterator())
            first.add_done_callback(lambda _: answered.set())
            # A topic without records says nothing for ever, and a refusal comes at once.
            if answered.wait(_REFUSAL_SECONDS):
                self._call(first.result)
        except StopIteration:
            return
        finally:
            self._call(lambda: result.close().result())

    def _kafka_options(self) -> dict[str, str]:
        """How the members reach Kafka; Java's names for what librdkafka names otherwise."""
        settings = self._settings
        servers = settings.hazelcast.kafka_bootstrap_servers or settings.kafka.bootstrap_servers
        if not servers:
            raise TerminalError("no Kafka for the projection: start the local stack with `fraudflow up`")
        return {
            "keyFormat": "varchar",
            "valueFormat": "varchar",
            "bootstrap.servers": servers,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "max.poll.records": "10000",
            # What comes in 100 ms, or a lot: otherwise each reader asks the broker once for each batch of each scorer.
            "fetch.min.bytes": "100000",
            "fetch.max.wait.ms": "100",
        } | java_login(settings.kafka)

    def _execute(self, statement: str) -> None:
        self._call(lambda: self._client.sql.execute(statement).result().close().result())

    def _query(self, statement: str, *parameters: Any) -> list[Any]:
        return self._call(lambda: list(self._client.sql.execute(statement, *parameters).result()))

    def _call(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (HazelcastSqlError, HazelcastError) as error:
            said = str(error)
            for secret in _secrets(self._settings.kafka):
                said = said.replace(secret, "***")
            if any(refusal in said for refusal in _REFUSALS):
                raise TerminalError(
                    f"Hazelcast's members cannot read Kafka: {said}. Check the login in FRAUDFLOW_KAFKA__*, and "
                    "FRAUDFLOW_KAFKA__SSL_TRUSTSTORE_LOCATION where the members see other files than we do"
                ) from None
            raise TransientError(f"Hazelcast SQL: {said}") from None


def ensure_projection(settings: Settings, connect_seconds: float | None = None) -> list[str]:
    """`Projection.ensure` on a connection of its own.

    Args:
        settings: name the cluster.
        connect_seconds: to wait for it; left out, the setting's.
    """
    client = connect(settings.hazelcast, connect_seconds)
    try:
        return Projection(client, settings).ensure()
    finally:
        client.shutdown()


def java_login(kafka: KafkaSettings) -> dict[str, str]:
    """The login of `kafka` in the words of the Java client. Holds secrets: never log it.

    Raises:
        TerminalError: a file that it names cannot be read, or not by Java.
    """
    options: dict[str, str] = {}
    if kafka.security_protocol != "PLAINTEXT":
        options["security.protocol"] = kafka.security_protocol
    if kafka.sasl_mechanism and kafka.sasl_username and kafka.sasl_password:
        kind = "plain.PlainLoginModule" if kafka.sasl_mechanism == "PLAIN" else "scram.ScramLoginModule"
        options["sasl.mechanism"] = kafka.sasl_mechanism
        options["sasl.jaas.config"] = (
            f"org.apache.kafka.common.security.{kind} required "
            f'username="{_jaas(kafka.sasl_username)}" '
            f'password="{_jaas(kafka.sasl_password.get_secret_value())}";'
        )
    authority = kafka.ssl_truststore_location or kafka.ssl_ca_location
    if authority:
        options |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(authority)}
    if kafka.ssl_certificate_location and kafka.ssl_key_location:
        key = _read(kafka.ssl_key_location)
        if "BEGIN PRIVATE KEY" not in key and "BEGIN ENCRYPTED PRIVATE KEY" not in key:
            raise TerminalError(
                f"{kafka.ssl_key_location} is no PKCS #8 key, the only kind that Hazelcast's members read: "
                f"openssl pkcs8 -topk8 -in {kafka.ssl_key_location} -out key.pem, and name that file in "
                "FRAUDFLOW_KAFKA__SSL_KEY_LOCATION"
            )
        options |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": _read(kafka.ssl_certificate_location),
            "ssl.keystore.key": key,
        }
        if kafka.ssl_key_password:
            options["ssl.key.password"] = kafka.ssl_key_password.get_secret_value()
    return options


def _secrets(kafka: KafkaSettings) -> list[str]:
    held = [one.get_secret_value() for one in (kafka.sasl_password, kafka.ssl_key_password) if one]
    return [form for secret in held for form in (_jaas(secret), secret)]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise TerminalError(f"cannot read {path}, which FRAUDFLOW_KAFKA__SSL_* names: {error.strerror}") from error


def _jaas(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _options(options: dict[str, str]) -> str:
    quote = "'"
    return ", ".join(f"'{name}'='{value.replace(quote, quote * 2)}'" for name, value in options.items())
