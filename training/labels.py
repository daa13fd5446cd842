"""What is known of a transaction, and since when: verdicts arrive late, and only those that are there can be learnt."""

from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.kafka import partitions
from infra.settings import KafkaSettings, TrainingSettings
from infra.topic_reader import TopicReader

DAY = 86_400
UNKNOWN = -1


class Said(NamedTuple):
    """A verdict of the `Labels` topic."""

    fraud: bool
    at: float
    """Seconds since 1970."""


class Labelled(Protocol):
    """What the rule looks at; arrays with one entry a transaction, as in `training.dataset`."""

    time: NDArray[np.int64]
    own: NDArray[np.int8]
    said: NDArray[np.int8]
    said_at: NDArray[np.int64]


class _Label(msgspec.Struct):
    transaction_number: str
    verdict: str
    at: str | None = None


_decode = msgspec.json.Decoder(_Label).decode
# "asked" is a verdict too: that nobody knows yet.
_KNOWING = {"fraud": True, "genuine": False}


def read_labels(kafka: KafkaSettings) -> dict[str, Said]:
    """The last verdict on each transaction, by its number; none without the topic.

    Raises:
        TransientError: Kafka does not answer.
    """
    if not partitions(kafka).get(kafka.topics.labels):
        return {}
    found: dict[str, Said] = {}
    reader = TopicReader(kafka, kafka.topics.labels)
    try:
        for messages in reader.read(reader.starts(), reader.ends(), lambda _: None):
            for message in messages:
                label = _decoded(message.value())
                if label is not None and label.verdict in _KNOWING:
                    at = _moment(label.at, message.timestamp()[1])
                    found[label.transaction_number] = Said(_KNOWING[label.verdict], at)
    finally:
        reader.close()
    return found


def _decoded(value: bytes | None) -> _Label | None:
    """None for what is no label: other people may write to the topic too."""
    try:
        return _decode(value) if value else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _moment(text: str | None, arrived_ms: int) -> float:
    """When it was said, in seconds since 1970; where the label does not tell, when it arrived."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else arrived_ms / 1000
    except ValueError:
        return arrived_ms / 1000


def known_labels(dataset: Labelled, now: int, settings: TrainingSettings) -> NDArray[np.int8]:
    """What was known of each transaction at a moment.

    A verdict in `Labels` goes before everything else: somebody looked. What the row says of itself (`is_fraud`, in
    history and in simulated transactions) is known once the labels' delay is over, as if it had come by the issuer's
    report. A transaction about which nobody has said anything by then counts as genuine, because cardholders complain
    about what was not theirs; a setting leaves such rows out instead.

    Args:
        dataset: times, the rows' own labels, the verdicts.
        now: the moment, in seconds since 1970 of the transactions' clock.
        settings: delay and rule.

    Returns:
        int8 [rows]: 1 fraud, 0 genuine, -1 not known.
    """
    overdue = dataset.time <= now - settings.label_delay_days * DAY
    late = np.where(dataset.own != UNKNOWN, dataset.own, 0 if settings.undisputed_is_genuine else UNKNOWN)
    spoken = (dataset.said != UNKNOWN) & (dataset.said_at <= now)
    result = np.where(spoken, dataset.said, np.where(overdue, late, UNKNOWN)).astype(np.int8)
    result[dataset.time > now] = UNKNOWN
    return result
