"""What flowed lately, as the model saw it: a sample of the predictions with the inputs that stood behind them.

The online inputs and the score are in the prediction; the static inputs are looked up again for its transaction. The
sample is slices of consecutive offsets, evenly spread over the time, so that it costs the same whatever the traffic.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import numpy as np
import orjson
from confluent_kafka import Message
from numpy.typing import NDArray

from infra.settings import KafkaSettings, MonitorSettings, TrainingSettings
from infra.topic_reader import TopicReader
from scoring.decode import decode_batch
from scoring.features import MODEL_INPUTS, Features
from scoring.history import ONLINE_INPUTS
from scoring.manifest import ModelManifest
from training.labels import DAY, Heard, Said, end_of, heard, known_labels, newest_time

SLICES = 20
"""Of each partition."""
_NAN = float("nan")


class _Head(msgspec.Struct):
    transaction_number: str
    fraud_probability: float
    model_version: str
    source_partition: int
    source_offset: int


_head = msgspec.json.Decoder(_Head).decode


@dataclass
class Window:
    """Sampled predictions of one model; arrays have one entry each.

    Attributes:
        names: of the inputs.
        inputs: float32 [rows, names]; NaN also where a prediction does not have the value.
        score: float32 [rows].
        time: int64 [rows], seconds since 1970.
        label: int8 [rows], -1 where nothing is known yet.
        newest: bool [rows], whether it is of the newest `window_days`.
        predictions: of all models in the newest `window_days`, about.
    """

    names: tuple[str, ...]
    inputs: NDArray[np.float32]
    score: NDArray[np.float32]
    time: NDArray[np.int64]
    label: NDArray[np.int8]
    newest: NDArray[np.bool_]
    predictions: int

    def __len__(self) -> int:
        return len(self.time)


def gather(
    kafka: KafkaSettings,
    features: Features,
    manifest: ModelManifest,
    labels: dict[str, Said],
    settings: MonitorSettings,
    training: TrainingSettings,
) -> Window:
    """Sample the time of which drift is looked at, and as much before it as labels are late.

    Raises:
        TransientError: Kafka does not answer.
        TerminalError: a topic is missing.
    """
    recent = settings.window_days * DAY
    predictions, transactions = (
        TopicReader(kafka, kafka.topics.predictions),
        TopicReader(kafka, kafka.topics.transactions),
    )
    rows = _Rows(features, manifest, labels)
    try:
        now = time.time()
        starts = predictions.offsets_at(round((now - 2 * recent - training.label_delay_days * DAY) * 1000))
        newest = predictions.offsets_at(round((now - recent) * 1000))
        ends, there = predictions.ends(), transactions.ends()
        for partition, start, end in _slices(starts, ends, settings.max_rows):
            heads: dict[int, dict[int, tuple[_Head, bytes]]] = defaultdict(dict)
            for message in _read(predictions, partition, start, end):
                value = message.value() or b""
                with suppress(msgspec.MsgspecError, UnicodeDecodeError):  # somebody else's, and none of our business
                    head = _head(value)
                    if head.model_version == manifest.version:
                        heads[head.source_partition][head.source_offset] = (head, value)
            # Where there are more partitions of transactions than of predictions, several of them are in one.
            for source, those in heads.items():
                # The topic may have been deleted and made anew: then it ends before them.
                first, behind = min(those), min(max(those) + 1, there.get(source, 0))
                if first < behind:
                    rows.add(those, _read(transactions, source, first, behind))
    finally:
        predictions.close()
        transactions.close()
    return rows.window(settings, training, sum(ends[p] - start for p, start in newest.items()))


def _slices(starts: dict[int, int], ends: dict[int, int], rows: int) -> Iterator[tuple[int, int, int]]:
    """Partition, first offset and end of evenly spread slices, of about so many rows in all."""
    total = sum(ends[p] - start for p, start in starts.items())
    kept = min(1.0, rows / max(total, 1))
    for partition, start in starts.items():
        size = ends[partition] - start
        # Whole partitions where all of them is looked at; seeking costs as much as thousands of rows.
        count = min(SLICES, size) if kept < 1 else min(1, size)
        for number in range(count):
            first = start + size * number // count
            yield partition, first, max(first + 1, first + round(size * kept / count))


def _read(reader: TopicReader, partition: int, start: int, end: int) -> Iterator[Message]:
    for messages in reader.read({partition: start}, {partition: end}, lambda _: None):
        yield from (message for message in messages if start <= (message.offset() or 0) < end)


class _Rows:
    """Collects what the window is made of."""

    def __init__(self, features: Features, manifest: ModelManifest, labels: dict[str, Said]):
        self._features, self._labels = features, labels
        self._names = manifest.names
        self._online = [name for name in self._names if name in ONLINE_INPUTS]
        self._static = [MODEL_INPUTS.index(name) for name in self._names if name in MODEL_INPUTS]
        self._order = [*(MODEL_INPUTS[at] for at in self._static), *self._online]
        self._inputs: list[NDArray[np.float32]] = []
        self._scores: list[float] = []
        self._heard: list[Heard] = []

    def add(self, heads: dict[int, tuple[_Head, bytes]], messages: Iterator[Message]) -> None:
        """Add predictions, by the offset of their transaction, with those transactions among `messages`.

        A prediction whose offset is another transaction's by now is left out.
        """
        found = [message for message in messages if message.offset() in heads]
        decoded, positions, _ = decode_batch([message.value() for message in found])
        batch, _ = self._features.build(decoded, positions)
        mine = [found[at] for at in batch.positions]
        told = [heads[message.offset() or 0] for message in mine]
        pairs = zip(batch.number, told, strict=True)
        same = [row for row, (number, (head, _)) in enumerate(pairs) if head.transaction_number == number]
        if len(same) < len(mine):
            batch, mine, told = batch.take(np.array(same, np.intp)), [mine[i] for i in same], [told[i] for i in same]
        if not batch:
            return
        answers = [orjson.loads(value) for _, value in told] if self._online else []
        online = [[_number(answer.get(name)) for name in self._online] for answer in answers]
        static = batch.inputs[:, self._static]
        self._inputs.append(np.concatenate([static, np.array(online, np.float32)], axis=1) if online else static)
        arrived = np.array([message.timestamp()[1] / 1000 for message in mine])
        self._scores += [head.fraud_probability for head, _ in told]
        self._heard.append(heard(batch, arrived, self._labels))

    def window(self, settings: MonitorSettings, training: TrainingSettings, predictions: int) -> Window:
        if not self._inputs:
            return empty_window(self._names, predictions)
        known = Heard(*map(np.concatenate, zip(*(vars(part).values() for part in self._heard), strict=True)))
        inputs = np.concatenate(self._inputs)[:, [self._order.index(name) for name in self._names]]
        at = known.time
        return Window(
            names=self._names,
            inputs=inputs,
            score=np.array(self._scores, np.float32),
            time=at,
            label=known_labels(known, end_of(known), training),
            newest=at > newest_time(at) - settings.window_days * DAY,
            predictions=predictions,
        )


def empty_window(names: tuple[str, ...], predictions: int = 0) -> Window:
    """One without a prediction of the model."""
    return Window(
        names=names,
        inputs=np.empty((0, len(names)), np.float32),
        score=np.empty(0, np.float32),
        time=np.empty(0, np.int64),
        label=np.empty(0, np.int8),
        newest=np.empty(0, np.bool_),
        predictions=predictions,
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else _NAN
