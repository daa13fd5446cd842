"""Kafka as the dashboard sees it: how fast it flows, what is newest, what people have said.

Two threads for the whole process: one follows the alerts and the labels as they come, the other looks every two
seconds how far the topics and the scorers are, and at the newest predictions, for their latency and age.
"""

import statistics
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec
import orjson
from confluent_kafka import Consumer, Message, TopicPartition

from dashboard import labels
from dashboard.following import Growth, arrived, follower, for_ever
from dashboard.labels import Label
from dashboard.state import Watched
from infra.errors import TransientError
from infra.group_reader import GroupReader
from infra.kafka import partitions
from infra.settings import Settings

PROBE_SECONDS = 2.0
_TIMEOUT_SECONDS = 5.0
# Longer than a scorer's commit, a rebalance and the killing of a scorer take.
_STILL_SECONDS = 30.0
_ALERTS, _LABELS, _SAMPLES = 200, 200_000, 450
# Transactions that end a partition leave a marker behind, which no scorer commits past: below so many offsets of
# lag, whether anything waits is found out by looking.
_MARKERS = 100
# Newest predictions of each partition that a look at the latency takes in.
_TAIL = 200
_FOLLOWER, _PROBE = "following alerts and labels", "watching Kafka"


@dataclass(frozen=True)
class Sample:
    """One look at the stream."""

    at: datetime
    arrived: int
    """Offsets of the transactions' topic, those before its retention left out; transaction markers included."""
    scored: int
    """Predictions in the topic, those before its retention left out; transaction markers included."""
    per_second: float
    lag: int
    """Transactions that are not scored yet."""
    p50_ms: float | None
    p99_ms: float | None
    newest: datetime | None
    """When the newest prediction reached Kafka."""


class Alert(msgspec.Struct):
    """What is shown of an alert."""

    transaction_number: str
    fraud_probability: float | None = None
    amount: float | None = None
    merchant: str | None = None
    customer_name: str | None = None
    customer_city: str | None = None
    card_last4: str | None = None
    distance_from_home: float | None = None
    arrived_ms: int = 0
    """By Kafka's clock, since 1970; no part of the record."""


class _Look(NamedTuple):
    at: float
    scored: int
    passed: int
    lag: int


class Stream:
    """What flows, now and in the last minutes."""

    def __init__(self, settings: Settings, watched: Watched, passed: Callable[[], int]):
        """Begin to follow.

        Args:
            settings: where Kafka is, and the names of the topics.
            watched: told how Kafka is.
            passed: how many predictions were read so far. Offsets would count the end of each transaction too.
        """
        self._settings, self.watched, self._passed = settings, watched, passed
        self.samples: deque[Sample] = deque(maxlen=_SAMPLES)
        self._alerts: list[Alert] = []
        self._labels: OrderedDict[str, Label] = OrderedDict()
        self._next_label: dict[int, int] = {}
        self._lock = threading.Lock()
        self.stands_still_since: datetime | None = None
        """When something was scored last, if transactions have been waiting since."""
        self.labels_read = False
        """Whether all labels are known that there were when this process began."""
        for name, work in ((_FOLLOWER, self._follow), (_PROBE, self._probe)):
            for_ever(name, work, partial(watched.away, who=name))

    def alerts(self) -> list[Alert]:
        """The newest alerts, the newest first."""
        with self._lock:
            return sorted(self._alerts, key=lambda alert: alert.arrived_ms, reverse=True)[:_ALERTS]

    def labels(self) -> list[Label]:
        """The newest label of each transaction."""
        with self._lock:
            return list(self._labels.values())

    def label(self, number: str) -> Label | None:
        """The newest label of a transaction."""
        with self._lock:
            return self._labels.get(number)

    def keep(self, label: Label) -> None:
        """Know a label, which Kafka has, before it comes by."""
        with self._lock:
            self._labels[label.transaction_number] = label
            self._labels.move_to_end(label.transaction_number)
            while len(self._labels) > _LABELS:
                self._labels.popitem(last=False)

    def _follow(self) -> None:
        """Read the labels from their beginning and the alerts from a little before their end, for ever."""
        topics = self._settings.kafka.topics
        consumer = follower(self._settings.kafka)
        try:
            present = partitions(self._settings.kafka)
            starts = [self._from_label(consumer, p) for p in range(present.get(topics.labels, 0))]
            for p in range(present.get(topics.alerts, 0)):
                low, high = consumer.get_watermark_offsets(TopicPartition(topics.alerts, p), timeout=_TIMEOUT_SECONDS)
                starts.append(TopicPartition(topics.alerts, p, max(low, high - _ALERTS)))
            if not starts:
                raise TransientError("the topics do not exist yet: run the deployment `provision`")
            consumer.assign(starts)
            self._alerts, unread = [], set(range(present.get(topics.labels, 0)))
            growth = Growth(consumer, {topic: present.get(topic, 0) for topic in (topics.labels, topics.alerts)})
            while True:
                messages, ended = arrived(consumer, 500, 0.5)
                self.watched.up(_FOLLOWER)
                growth.take_in()
                for message in messages:
                    self._take(message)
                    if message.topic() == topics.labels:
                        self._next_label[message.partition() or 0] = (message.offset() or 0) + 1
                unread -= {number for topic, number in ended if topic == topics.labels}
                self.labels_read |= not unread
        finally:
            consumer.close()

    def _from_label(self, consumer: Consumer, partition: int) -> TopicPartition:
        """Where to go on: read once more, an old label would stand for the newest until that came by again."""
        at = TopicPartition(self._settings.kafka.topics.labels, partition, self._next_label.get(partition, 0))
        low, high = consumer.get_watermark_offsets(at, timeout=_TIMEOUT_SECONDS)
        if not low <= at.offset <= high:  # the topic is another one now
            at.offset = 0
        return at

    def _take(self, message: Message) -> None:
        if message.topic() == self._settings.kafka.topics.labels:
            if label := labels.decode(message.value()):
                self.keep(label)
        elif alert := _alert(message):
            with self._lock:
                self._alerts.append(alert)
                if len(self._alerts) > 2 * _ALERTS:
                    self._alerts = sorted(self._alerts, key=lambda kept: kept.arrived_ms)[-_ALERTS:]

    def _probe(self) -> None:
        kafka = self._settings.kafka
        group = GroupReader(kafka, self._settings.scoring.group_id, kafka.topics.transactions)
        consumer = follower(self._settings.kafka)
        before: _Look | None = None
        moved = datetime.now(UTC)
        tail: tuple[float | None, float | None, datetime | None] = (None, None, None)
        try:
            while True:
                ends = self._ends(consumer, kafka.topics.predictions)
                scored = sum(high - low for low, high in ends.values())
                arrived = sum(high - low for low, high in self._ends(consumer, kafka.topics.transactions).values())
                if before is None or before.scored != scored:
                    tail = self._newest(consumer, ends)
                look, now = _Look(time.monotonic(), scored, self._passed(), group.lag()), datetime.now(UTC)
                moves = before is None or before.scored != scored or look.lag < before.lag
                # What is left may be no transactions: markers, or rows that were never committed.
                waits = look.lag > _MARKERS and moves
                lag = look.lag if look.lag and (waits or not group.drained()) else 0
                if moves or not lag:
                    moved = now
                self.stands_still_since = moved if (now - moved).total_seconds() > _STILL_SECONDS else None
                rate = (look.passed - before.passed) / (look.at - before.at) if before else 0.0
                self.samples.append(Sample(now, arrived, scored, rate, lag, *tail))
                self.watched.up(_PROBE)
                before = look
                time.sleep(PROBE_SECONDS)
        finally:
            consumer.close()
            group.close()

    @staticmethod
    def _ends(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
        metadata = consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
        if metadata.error is not None:
            return {}
        return {
            p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=_TIMEOUT_SECONDS)
            for p in metadata.partitions
        }

    def _newest(
        self, consumer: Consumer, ends: dict[int, tuple[int, int]]
    ) -> tuple[float | None, float | None, datetime | None]:
        """p50 and p99 of the newest predictions' time in the scorer, ms, and when the newest one arrived."""
        topic = self._settings.kafka.topics.predictions
        starts = [TopicPartition(topic, p, max(low, high - _TAIL)) for p, (low, high) in ends.items() if high > low]
        if not starts:
            return None, None, None
        consumer.assign(starts)
        open_ends = {(topic, start.partition) for start in starts}
        times, newest, deadline = [], 0, time.monotonic() + _TIMEOUT_SECONDS
        while open_ends and time.monotonic() < deadline:
            messages, ended = arrived(consumer, len(starts) * _TAIL, 0.2)
            open_ends.difference_update(ended)  # an end can be told again while others are read
            for message in messages:
                newest = max(newest, message.timestamp()[1])
                taken = (_decoded(message) or {}).get("transaction_processing_total_time")
                if isinstance(taken, int | float):
                    times.append(taken / 1e6)
        consumer.unassign()
        if not times:
            return None, None, None
        cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else [times[0]] * 99
        return cuts[49], cuts[98], datetime.fromtimestamp(newest / 1000, UTC)


_decode_alert = msgspec.json.Decoder(Alert).decode


def _alert(message: Message) -> Alert | None:
    """None for what is no alert of a scorer."""
    try:
        return msgspec.structs.replace(_decode_alert(message.value() or b""), arrived_ms=message.timestamp()[1])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _decoded(message: Message) -> dict[str, Any] | None:
    try:
        record = orjson.loads(message.value() or b"")
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None
