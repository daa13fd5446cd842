"""What is known of a transaction, and since when: verdicts arrive late, and only those that are there can be learnt."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from infra.kafka import partitions
from infra.labels import FRAUD, GENUINE, decode_verdict
from infra.settings import KafkaSettings, TrainingSettings
from infra.topic_reader import TopicReader
from scoring.features import Batch

DAY = 86_400
UNKNOWN = -1
_MISDATED = 0.001


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


@dataclass
class Heard:
    """What was said of transactions; arrays with one entry each."""

    time: NDArray[np.int64]
    """Seconds since 1970 of the transaction's own date."""
    own: NDArray[np.int8]
    """The row's own is_fraud, -1 where it has none."""
    said: NDArray[np.int8]
    """The verdict in `Labels`, -1 where there is none."""
    said_at: NDArray[np.int64]
    """When it was there, on the clock of `time`."""


# "asked" is a verdict too: that nobody knows yet.
_KNOWING = {FRAUD: True, GENUINE: False}


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
                label = decode_verdict(message.value())
                if label is not None and label.verdict in _KNOWING:
                    said = Said(_KNOWING[label.verdict], _moment(label.at, message.timestamp()[1]))
                    before = found.get(label.transaction_number)
                    if before and before.fraud == said.fraud:  # it was known already
                        said = min(before, said)
                    found[label.transaction_number] = said
    finally:
        reader.close()
    return found


def _moment(text: str | None, arrived_ms: int) -> float:
    """When it was said, in seconds since 1970; where the label does not tell, when it arrived, and never later."""
    arrived = arrived_ms / 1000
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        at = None
    if at is None:
        return arrived
    return min((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp(), arrived)


def heard(batch: Batch, arrived: NDArray[np.float64] | None, labels: dict[str, Said]) -> Heard:
    """What was said of a batch.

    Args:
        batch: the transactions.
        arrived: when Kafka took each, in seconds since 1970; None outside Kafka.
        labels: verdicts by transaction number.
    """
    time = batch.time
    said = [labels.get(number) for number in batch.number] if labels else [None] * len(batch)
    # A verdict is as late as it came after the transaction had arrived, whenever its log is played.
    came = zip(said, time.tolist(), (time if arrived is None else arrived).tolist(), strict=True)
    return Heard(
        time=time,
        own=np.array([UNKNOWN if mark is None else mark for mark in batch.is_fraud], np.int8),
        said=np.array([UNKNOWN if verdict is None else verdict.fraud for verdict in said], np.int8),
        said_at=np.array([0 if v is None else at + max(0.0, v.at - taken) for v, at, taken in came]).astype(np.int64),
    )


def newest_time(time: NDArray[np.int64]) -> int:
    """When the newest of these transactions was, but for the newest thousandth: a shop's clock may be years ahead."""
    return int(np.quantile(time, 1 - _MISDATED, method="higher"))


def oldest_time(time: NDArray[np.int64]) -> int:
    """When the oldest was, but for the oldest thousandth."""
    return int(np.quantile(time, _MISDATED, method="lower"))


def end_of(dataset: Labelled) -> int:
    """When the newest transaction or verdict came; those of misdated transactions are as misdated."""
    newest = newest_time(dataset.time)
    return max(newest, int(dataset.said_at[dataset.time <= newest].max()))


def known_labels(dataset: Labelled, now: int, settings: TrainingSettings) -> NDArray[np.int8]:
    """What was known of each transaction at a moment.

    Nothing is, before the labels' delay is over: verdicts come first where there was an alert or a complaint, and a
    period in which these alone are known has more fraud than there is, and the fraud that the champion finds.
    Then a verdict in `Labels` goes before everything else: somebody looked. What the row says of itself (`is_fraud`, in
    history and in simulated transactions) is known as if it had come by the issuer's report. A transaction about which
    nobody has said anything counts as genuine, because cardholders complain about what was not theirs; a setting leaves
    such rows out instead.

    Args:
        dataset: times, the rows' own labels, the verdicts.
        now: the moment, in seconds since 1970 of the transactions' clock.
        settings: delay and rule.

    Returns:
        int8 [rows]: 1 fraud, 0 genuine, -1 not known.
    """
    due = dataset.time <= now - settings.label_delay_days * DAY
    late = np.where(dataset.own != UNKNOWN, dataset.own, 0 if settings.undisputed_is_genuine else UNKNOWN)
    spoken = (dataset.said != UNKNOWN) & (dataset.said_at <= now)
    return np.where(due, np.where(spoken, dataset.said, late), UNKNOWN).astype(np.int8)
