"""What stands in Predictions and DeadLetters: where each answer came from, and what it said."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from verify.baseline import Baseline
from verify.marks import Marks
from verify.named import Named
from verify.places import Places

# What Kafka can count to.
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class PredictionRecord(msgspec.Struct, gc=False):
    """What verification needs of a prediction; the other fields are passed over."""

    transaction_number: str
    fraud_probability: float
    source_partition: _Count
    source_offset: _Count
    model_version: str = ""
    features_version: str = ""


class DeadLetterRecord(msgspec.Struct, gc=False):
    """What verification needs of a dead letter."""

    source_topic: str
    source_partition: _Count
    source_offset: _Count
    value_sha256: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")] = ""


decode_prediction = msgspec.json.Decoder(PredictionRecord).decode
decode_dead_letter = msgspec.json.Decoder(DeadLetterRecord).decode
# The last is of what is nested too deeply, also in a field that is passed over.
NOT_READABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# As long as a card number can be (ISO/IEC 7812), should somebody number transactions so.
_CARD_LIKE = re.compile(r"\d{9,15}(?=\d{4})")


def shown(transaction_number: str) -> str:
    """A transaction number as it may be printed."""
    return _CARD_LIKE.sub("*", transaction_number)


def digests(texts: Sequence[bytes]) -> NDArray[np.uint64]:
    """64 bits of BLAKE2b for each text. Two of ten million collide with a chance of 3 in a million."""
    return np.frombuffer(b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts), "<u8")


def value_digest(sha256: bytes) -> int:
    """What is kept of a value's SHA-256: 64 bits."""
    return int.from_bytes(sha256[:8])


@dataclass
class Outputs:
    """The sources of all answers; with `keep`, also 24 bytes for each prediction."""

    places: Places
    topic: str
    """Of the input: dead letters of another one are not counted."""
    offenders: int
    """How many of a kind are kept to be shown."""
    keep: bool = False
    """Keep digests of keys and values, for a comparison with the map or a baseline to be written."""
    baseline: Baseline | None = None
    sources: dict[int, Marks] = field(default_factory=lambda: defaultdict(Marks))
    named: dict[int, Named] = field(default_factory=dict)
    """The transaction numbers of predictions, by source partition."""
    refused: dict[int, Named] = field(default_factory=dict)
    """The values of dead letters, by source partition."""
    predictions: int = 0
    dead_letters: int = 0
    unreadable: int = 0
    first_unreadable: list[str] = field(default_factory=list)
    nowhere: int = 0
    """Answers whose source the input does not have, nor ever had."""
    first_nowhere: list[str] = field(default_factory=list)
    fallen: int = 0
    """Predictions behind one of a later source."""
    first_fallen: list[str] = field(default_factory=list)
    different: int = 0
    first_different: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    """Model and features, with a slash between."""
    _last: dict[tuple[int, int], int] = field(default_factory=dict)
    _keys: list[NDArray[np.uint64]] = field(default_factory=list)
    _probabilities: list[NDArray[np.float64]] = field(default_factory=list)
    _values: list[NDArray[np.uint64]] = field(default_factory=list)
    _compared: list[NDArray[np.uint64]] = field(default_factory=list)

    def add_predictions(self, messages: Sequence[Message]) -> None:
        """Take in a batch of Predictions."""
        readable: list[Message] = []
        records: list[PredictionRecord] = []
        for message in messages:
            try:
                records.append(decode_prediction(message.value() or b""))
            except NOT_READABLE as error:
                self._not_readable(message, str(error))
            else:
                readable.append(message)
        keys = digests([record.transaction_number.encode() for record in records])
        rows: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row in self._somewhere(readable, records):
            rows[readable[row].partition() or 0, records[row].source_partition].append(row)
        for (target, source), those in rows.items():
            offsets = [records[row].source_offset for row in those]
            self.sources[source].add(offsets)
            self._check_order(target, source, offsets)
            self._name(self.named, source, offsets, keys[those])
        self.predictions += len(records)
        self.versions |= {f"{record.model_version}/{record.features_version}" for record in records}
        if records and (self.keep or self.baseline):
            probabilities = np.array([record.fraud_probability for record in records], np.float64)
            if self.baseline:
                self._compare(self.baseline, keys, probabilities, records)
            if self.keep:
                self._keys.append(keys)
                self._probabilities.append(probabilities)
                self._values.append(digests([message.value() or b"" for message in readable]))

    def add_dead_letters(self, messages: Sequence[Message]) -> None:
        """Take in a batch of DeadLetters."""
        readable: list[Message] = []
        records: list[DeadLetterRecord] = []
        for message in messages:
            if message.value() is None:  # says that the letter of this key is closed: its original was sent again
                continue
            try:
                record = decode_dead_letter(message.value() or b"")
            except NOT_READABLE as error:
                self._not_readable(message, str(error))
                continue
            if record.source_topic == self.topic:
                readable.append(message)
                records.append(record)
        self.dead_letters += len(records)
        rows: dict[int, list[int]] = defaultdict(list)
        for row in self._somewhere(readable, records):
            rows[records[row].source_partition].append(row)
        for source, those in rows.items():
            self.sources[source].add([records[row].source_offset for row in those])
            telling = [records[row] for row in those if records[row].value_sha256]
            values = [value_digest(bytes.fromhex(record.value_sha256)) for record in telling]
            self._name(self.refused, source, [record.source_offset for record in telling], np.array(values, np.uint64))

    def keys(self) -> NDArray[np.uint64]:
        """The digest of each prediction's transaction number."""
        return np.concatenate([np.zeros(0, np.uint64), *self._keys])

    def probabilities(self) -> NDArray[np.float64]:
        """The probability of each prediction, in the order of `keys`."""
        return np.concatenate([np.zeros(0, np.float64), *self._probabilities])

    def values(self) -> NDArray[np.uint64]:
        """The digest of each prediction's JSON, in the order of `keys`."""
        return np.concatenate([np.zeros(0, np.uint64), *self._values])

    def compared_keys(self) -> NDArray[np.uint64]:
        """The digest of the transaction number of each prediction that the baseline knows."""
        return np.concatenate([np.zeros(0, np.uint64), *self._compared])

    def _name(self, by: dict[int, Named], source: int, offsets: list[int], digests: NDArray[np.uint64]) -> None:
        named = by.setdefault(source, Named(self.places.starts.get(source, 0)))
        named.add(np.array(offsets, np.int64), digests)

    def _compare(
        self,
        baseline: Baseline,
        keys: NDArray[np.uint64],
        probabilities: NDArray[np.float64],
        records: Sequence[PredictionRecord],
    ) -> None:
        known, same = baseline.compare(keys, probabilities)
        self._compared.append(keys[known])
        wrong = np.flatnonzero(known & ~same)
        self.different += len(wrong)
        for row in wrong[: self.offenders - len(self.first_different)]:
            record = records[row]
            self.first_different.append(
                f"transaction {shown(record.transaction_number)} (partition {record.source_partition} "
                f"offset {record.source_offset}): {record.fraud_probability!r} is not the baseline's probability"
            )

    def _check_order(self, target: int, source: int, offsets: list[int]) -> None:
        before = self._last.get((target, source), -1)
        row = np.array([before, *offsets])
        falls = np.flatnonzero(np.diff(row) <= 0)
        self.fallen += len(falls)
        for at in falls[: self.offenders - len(self.first_fallen)]:
            self.first_fallen.append(
                f"Predictions partition {target}: source {source}@{row[at + 1]} stands behind {source}@{row[at]}"
            )
        self._last[target, source] = max(before, int(row.max()))

    def _somewhere(
        self, messages: Sequence[Message], records: Sequence[PredictionRecord | DeadLetterRecord]
    ) -> list[int]:
        """The rows whose source the input has or had; the others are noted."""
        there = self.places.have([(record.source_partition, record.source_offset) for record in records])
        wrong = [row for row, has in enumerate(there) if not has]
        self.nowhere += len(wrong)
        for row in wrong[: self.offenders - len(self.first_nowhere)]:
            self.first_nowhere.append(
                f"{_place(messages[row])} answers partition {records[row].source_partition} "
                f"offset {records[row].source_offset}, which the input has not come to"
            )
        return [row for row, has in enumerate(there) if has]

    def _not_readable(self, message: Message, problem: str) -> None:
        self.unreadable += 1
        if len(self.first_unreadable) < self.offenders:
            self.first_unreadable.append(f"{_place(message)}: {problem}")


def _place(message: Message) -> str:
    return f"{message.topic()} partition {message.partition()} offset {message.offset()}"
