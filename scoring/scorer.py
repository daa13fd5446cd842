"""One batch, from bytes to predictions. Knows nothing of Kafka's clients, of Prefect or of AWS."""

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infra.settings import ScoringSettings
from scoring.cards import mask_text
from scoring.decode import decode_batch
from scoring.encode import Encoder
from scoring.features import Features
from scoring.model import Model
from scoring.transaction import Rejected


@dataclass
class Source:
    """Where the messages of a batch stood; one entry per message."""

    topic: str
    partitions: list[int]
    offsets: list[int]


@dataclass
class Scored:
    """What becomes of a batch: every message is in `values` or in `rejected`, by its position, and in one only."""

    positions: list[int]
    partitions: list[int]
    keys: list[bytes]
    values: list[bytes]
    alerts: list[int]
    rejected: dict[int, Rejected]
    known_fraud: int
    known_fraud_found: int
    """Known fraud among the alerts."""
    inference_ns: int


class Scorer:
    """Scores batches with one model and the newest features it was given."""

    def __init__(self, model: Model, features: Features, settings: ScoringSettings):
        self._model = model
        self._settings = settings
        self.features = features

    @property
    def model_version(self) -> str:
        """The first characters of the model file's sha256."""
        return self._model.version

    @property
    def features(self) -> Features:
        """The features in use. Set between batches: a batch is scored with one version."""
        return self._features

    @features.setter
    def features(self, features: Features) -> None:
        self._features = features
        self._encoder = Encoder(
            features,
            self._model.version,
            self._settings.mask_card_numbers,
            self._settings.card_token_key.get_secret_value().encode(),
        )

    def score(self, messages: Sequence[bytes | None], source: Source, started_ns: int) -> Scored:
        """Score a batch.

        Args:
            messages: the values as they came.
            source: where they stood.
            started_ns: `time.perf_counter_ns()` at which they were taken from Kafka.
        """
        rows, positions, rejected = decode_batch(messages)
        batch, unknown = self._features.build(rows, positions)
        rejected |= unknown
        if not batch.rows:
            return Scored([], [], [], [], [], rejected, 0, 0, 0)
        before = time.perf_counter_ns()
        probability, label = self._model.predict(batch.inputs)
        inference_ns = time.perf_counter_ns() - before
        partitions = [source.partitions[p] for p in batch.positions]
        offsets = [source.offsets[p] for p in batch.positions]
        timing = b'"inference_time_ns":%d,"transaction_processing_total_time":%d' % (
            inference_ns // len(batch.rows),
            time.perf_counter_ns() - started_ns,
        )
        keys, values = self._encoder.encode(batch, probability, label, partitions, offsets, timing)
        alerts = np.flatnonzero(probability >= np.float32(self._settings.alert_threshold)).tolist()
        known = sum(row.is_fraud == 1 for row in batch.rows)
        found = sum(batch.rows[i].is_fraud == 1 for i in alerts)
        return Scored(batch.positions, partitions, keys, values, alerts, rejected, known, found, inference_ns)


def dead_letter(
    value: bytes | None,
    rejected: Rejected,
    topic: str,
    partition: int,
    offset: int,
    settings: ScoringSettings,
) -> bytes:
    """The JSON of a dead letter: the digest is of the whole value as it stood, the value itself cut and masked."""
    raw = value or b""
    kept = raw[: settings.dead_letter_bytes]
    if settings.mask_card_numbers:
        kept = mask_text(kept)
    return json.dumps(
        {
            "reason": rejected.reason,
            "detail": rejected.detail,
            "source_topic": topic,
            "source_partition": partition,
            "source_offset": offset,
            "value_base64": base64.b64encode(kept).decode(),
            "value_sha256": hashlib.sha256(raw).hexdigest(),
            "value_bytes": len(raw),
            "value_cut": len(raw) > settings.dead_letter_bytes,
        },
        separators=(",", ":"),
    ).encode()
