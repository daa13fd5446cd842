"""Models in a compacted Kafka topic, and the roles that they have.

A model is chunks of three files under keys of its own; the record `roles` says which model scores. Both are written
in Kafka transactions of one transactional id: who comes later fences who came before, so a change of the roles that
was decided on older ones fails instead of undoing another's.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.errors import TerminalError, TransientError
from infra.kafka import REQUEST_TIMEOUT_SECONDS, client_config, init_transactions
from infra.kafka_errors import explained, lost_or_explained
from infra.settings import KafkaSettings
from infra.topic_reader import TopicReader

CHUNK_BYTES = 512_000
VERSION_CHARACTERS = 16
_ROLES = b"roles"
_PARTS = ("model", "manifest", "booster")
_PARTITION = 0


class Bounds(msgspec.Struct, frozen=True):
    """What a challenger must keep to; a scorer that sees it break one takes it out."""

    after: int = 1_000
    """Transactions of a scorer that the challenger scored before its alerts and its time are judged."""
    highest_alert_rate: float = 0.2
    lowest_alert_rate: float = 0.0
    inference_factor: float = 5.0
    """Its time for a transaction in terms of the champion's."""
    errors: int = 0
    """Batches in which it may fail."""


class Roles(msgspec.Struct, frozen=True, kw_only=True):
    """Which models score. Models are named by their versions."""

    champion: str
    challenger: str | None = None
    mode: Literal["shadow", "canary"] | None = None
    """shadow: the challenger's probability stands beside the champion's; canary: it decides for a share of cards."""
    canary_share: float = 0.0
    bounds: Bounds = Bounds()
    generation: int = 0
    """Counts the changes; `assign` sets it."""
    who: str = ""
    when: str = ""
    """ISO 8601, UTC; `assign` sets it."""
    why: str = ""

    def alone(self, who: str, why: str) -> "Roles":
        """The same without a challenger, for a reason."""
        return msgspec.structs.replace(self, challenger=None, mode=None, canary_share=0.0, who=who, why=why)

    def check(self) -> None:
        """Nothing, if these can be.

        Raises:
            TerminalError: they contradict each other.
        """
        if (self.challenger is None) != (self.mode is None):
            raise TerminalError("a challenger and its mode, shadow or canary, go together")
        if not 0 <= self.canary_share <= 1 or (self.mode == "canary") != (self.canary_share > 0):
            raise TerminalError("a canary, and nothing else, has a share of the cards, above 0 and up to 1")
        if self.challenger == self.champion:
            raise TerminalError(f"{self.champion} is the champion already")


class RolesChanged(TransientError):
    """Somebody changed the roles since they were read."""


@dataclass(frozen=True)
class Package:
    """The files of a model."""

    model: bytes
    manifest: bytes
    booster: bytes | None = None

    @property
    def sha256(self) -> str:
        """Of the model file."""
        return hashlib.sha256(self.model).hexdigest()

    @property
    def version(self) -> str:
        """How the model is named: the first 16 characters of its sha256."""
        return self.sha256[:VERSION_CHARACTERS]


@dataclass
class Models:
    """What stands in the topic."""

    roles: Roles | None = None
    _chunks: dict[str, bytes] = field(default_factory=dict)

    def take(self, key: bytes, value: bytes | None) -> None:
        """Add a record.

        Raises:
            TerminalError: it is not one of ours.
        """
        if key == _ROLES:
            try:
                self.roles = msgspec.json.decode(value, type=Roles) if value else None
            except msgspec.MsgspecError as error:
                raise TerminalError(f"the roles of the models cannot be read: {error}") from error
        elif value is None:
            self._chunks.pop(key.decode(), None)
        else:
            self._chunks[key.decode()] = value

    def versions(self) -> list[str]:
        """The models that are complete."""
        found = {key.split("/")[0][:VERSION_CHARACTERS]: key.split("/")[0] for key in self._chunks}
        return sorted(version for version, sha256 in found.items() if self._part(sha256, "model") is not None)

    def package(self, version: str) -> Package:
        """A model's files.

        Raises:
            TerminalError: there is no such model, or its bytes are not those that its name says.
        """
        sha256 = next((key.split("/")[0] for key in self._chunks if key.startswith(version)), "")
        model, manifest = self._part(sha256, "model"), self._part(sha256, "manifest")
        if model is None or manifest is None:
            raise TerminalError(f"Kafka has no model {version}; there are: {', '.join(self.versions()) or 'none'}")
        if hashlib.sha256(model).hexdigest() != sha256:
            raise TerminalError(f"the model {version} in Kafka is damaged: its sha256 is another")
        return Package(model, manifest, self._part(sha256, "booster"))

    def _part(self, sha256: str, part: str) -> bytes | None:
        """Chunks have keys `<sha256>/<part>/<number>/<of how many>`."""
        prefix = f"{sha256}/{part}/"
        chunks = {
            tuple(map(int, key[len(prefix) :].split("/"))): v
            for key, v in self._chunks.items()
            if key.startswith(prefix)
        }
        count = next((of for _, of in chunks), None)
        if count is None or any((number, count) not in chunks for number in range(count)):
            return None
        return b"".join(chunks[number, count] for number in range(count))


class ModelFollower:
    """Reads the topic on and on."""

    def __init__(self, kafka: KafkaSettings, end_ms: int = 500):
        """Connect; nothing is read yet.

        Args:
            kafka: the cluster.
            end_ms: as for `TopicReader`.

        Raises:
            TransientError: Kafka does not answer.
            TerminalError: it refuses to, or there is no such topic.
        """
        self.models = Models()
        self._reader = TopicReader(kafka, kafka.topics.models, end_ms)
        self._reader.seek({_PARTITION: 0})

    def catch_up(self) -> Models:
        """Read to the end as it is now.

        Raises:
            TransientError: Kafka does not answer.
            TerminalError: it refuses to, or a record is not one of ours.
        """
        for messages in self._reader.until(self._reader.ends()):
            self._take(messages)
        return self.models

    def poll(self) -> bool:
        """Take what is there without waiting; whether something was.

        Raises:
            TransientError: Kafka does not answer.
            TerminalError: it refuses to, or a record is not one of ours.
        """
        messages = self._reader.arrived()
        self._take(messages)
        return bool(messages)

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            self.models.take(message.key() or b"", message.value())

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()


class ModelStore:
    """Publishes models and gives them their roles."""

    def __init__(self, kafka: KafkaSettings):
        self._kafka = kafka
        self._topic = kafka.topics.models

    def read(self) -> Models:
        """What stands in the topic now.

        Raises:
            TransientError: Kafka does not answer.
            TerminalError: it refuses to, or the topic is not there.
        """
        follower = ModelFollower(self._kafka, end_ms=20)
        try:
            return follower.catch_up()
        finally:
            follower.close()

    def publish(self, package: Package) -> str:
        """Put a model there, in one transaction; again, if it is there already. Returns its version.

        Raises:
            TransientError: Kafka does not answer.
            TerminalError: the manifest is that of another file.
        """
        named = json.loads(package.manifest).get("sha256")
        if named != package.sha256:
            raise TerminalError(f"the manifest is that of the model {named}, the file is {package.sha256}")
        with _Writer(self._kafka) as producer:
            self._send(producer, _records(package))
        return package.version

    def assign(self, roles: Roles, expected_generation: int) -> Roles:
        """Change the roles.

        Args:
            roles: with any generation and time; both are set here.
            expected_generation: of the roles that the change was decided on; 0 where there were none.

        Returns:
            The roles as they stand.

        Raises:
            RolesChanged: they are not of that generation any more.
            TerminalError: they contradict each other, or name a model that is not there.
        """
        roles.check()
        with _Writer(self._kafka) as producer:
            # Whoever held the transactional id is fenced from here on: what is read now stays until this is written.
            models = self.read()
            standing = models.roles.generation if models.roles else 0
            if standing != expected_generation:
                raise RolesChanged(
                    f"the roles are of generation {standing}, not {expected_generation}: look at them again"
                )
            for version in filter(None, (roles.champion, roles.challenger)):
                models.package(version)
            written = msgspec.structs.replace(
                roles, generation=standing + 1, when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            )
            self._send(producer, [(_ROLES, msgspec.json.encode(written))])
        return written

    def _send(self, producer: Producer, records: Iterable[tuple[bytes, bytes]]) -> None:
        producer.begin_transaction()
        for key, value in records:
            producer.produce(self._topic, value, key, _PARTITION)
        producer.commit_transaction(REQUEST_TIMEOUT_SECONDS)


class _Writer:
    """A producer with the topic's transactional id, for one transaction; its errors become ours."""

    def __init__(self, kafka: KafkaSettings):
        self._topic = kafka.topics.models
        self._config = client_config(kafka) | {
            "transactional.id": f"fraudflow-{self._topic}",
            "transaction.timeout.ms": 10_000,
            "compression.type": "lz4",
        }

    def __enter__(self) -> Producer:
        producer = Producer(self._config)
        try:
            init_transactions(producer, self._topic, REQUEST_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise explained(error, f"cannot write to {self._topic}") from error
        return producer

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, KafkaException):
            return
        fenced = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
        if error.args[0].code() in fenced:
            raise RolesChanged(f"somebody else is writing to {self._topic}: look at the roles again") from error
        raise lost_or_explained(error, f"cannot write to {self._topic}") from error


def _records(package: Package) -> Iterator[tuple[bytes, bytes]]:
    for part in _PARTS:
        data: bytes | None = getattr(package, part)
        if data is None:
            continue
        chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        for number, chunk in enumerate(chunks):
            yield f"{package.sha256}/{part}/{number}/{len(chunks)}".encode(), chunk
