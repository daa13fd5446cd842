"""One batch, from bytes to predictions. Knows nothing of Kafka's clients, of Prefect or of AWS."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.settings import ScoringSettings
from scoring.cards import mask_text
from scoring.decode import decode_batch
from scoring.encode import Encoder, endings, versions_of
from scoring.features import Batch, Features
from scoring.history import ONLINE_INPUTS
from scoring.lineup import Answers, Challenger, Lineup, threshold
from scoring.model import Model, answered
from scoring.transaction import Reason, Rejected


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


Observe = Callable[[Batch, Sequence[int], Sequence[int]], NDArray[np.float32]]
"""Gives the online inputs of a batch with these partitions and offsets, and remembers it."""


class Scorer:
    """Scores batches with the models and the newest features it was given."""

    def __init__(self, models: Lineup | Model, features: Features, settings: ScoringSettings):
        self._settings = settings
        self._key = settings.card_token_key.get_secret_value().encode()
        self.lineup = models if isinstance(models, Lineup) else Lineup(models)
        self.features = features
        self.observe: Observe | None = None
        """Needed where a model has online inputs."""

    @property
    def lineup(self) -> Lineup:
        """The models in use. Set between batches."""
        return self._lineup

    @lineup.setter
    def lineup(self, lineup: Lineup) -> None:
        self._lineup, self._online = lineup, [(name, ONLINE_INPUTS.index(name)) for name in lineup.online]
        self.challenger = None
        if lineup.challenger and lineup.roles:
            self.challenger = Challenger(lineup.challenger, lineup.roles, self._settings)

    @property
    def model_version(self) -> str:
        """The first characters of the champion's sha256."""
        return self._lineup.champion.version

    @property
    def features(self) -> Features:
        """The features in use. Set between batches: a batch is scored with one version."""
        return self._features

    @features.setter
    def features(self, features: Features) -> None:
        self._features = features
        self._encoder = Encoder(features, self._settings.mask_card_numbers, self._key)
        if self.challenger:
            self.challenger.renew()

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
        partitions, offsets = source.partitions, source.offsets
        if rejected:
            partitions, offsets = ([column[p] for p in batch.positions] for column in (partitions, offsets))
        online = None
        if self._online and self.observe and batch:
            online = self.observe(batch, partitions, offsets)
        return self._answer(batch, online, partitions, offsets, rejected, started_ns)

    def _answer(
        self,
        batch: Batch,
        online: NDArray[np.float32] | None,
        partitions: list[int],
        offsets: list[int],
        rejected: dict[int, Rejected],
        started_ns: int,
    ) -> Scored:
        """Ask the models, and encode what they say; what the champion has no answer to joins the rejected."""
        if not batch:
            return Scored([], [], [], [], [], rejected, 0, 0, 0)
        champion = self._lineup.champion
        before = time.perf_counter_ns()
        inputs = champion.matrix.build(batch.inputs, online)
        probability, label = champion.predict(inputs)
        inference_ns = time.perf_counter_ns() - before
        good = answered(probability, label)
        if not good.all():
            detail = f"model {champion.version} gives no probability between 0 and 1, or a label neither 0 nor 1"
            lost = {batch.positions[i]: Rejected(Reason.NO_ANSWER, detail) for i in np.flatnonzero(~good)}
            keep = np.flatnonzero(good)
            return self._answer(
                batch.take(keep),
                None if online is None else online[keep],
                [partitions[i] for i in keep],
                [offsets[i] for i in keep],
                rejected | lost,
                started_ns,
            )
        alert = probability >= np.float32(threshold(champion, self._settings))
        answers = self._challenge(batch, online, inference_ns)
        if answers and answers.decides:
            probability, label = probability.copy(), label.copy()
            probability[answers.rows], label[answers.rows] = answers.probability, answers.label
            alert[answers.rows] = answers.alert
        alerts = np.flatnonzero(alert).tolist()
        reasons = self._reasons(alerts, inputs, answers)
        versions, columns = self._besides(len(batch), online, answers, reasons)
        timing = b'"inference_time_ns":%d,"transaction_processing_total_time":%d' % (
            inference_ns // len(batch),
            time.perf_counter_ns() - started_ns,
        )
        ends = endings(len(batch), versions, timing, columns, reasons)
        keys, values = self._encoder.encode(batch, probability, label, partitions, offsets, ends)
        known = batch.is_fraud.count(1)
        found = sum(batch.is_fraud[i] == 1 for i in alerts)
        return Scored(batch.positions, partitions, keys, values, alerts, rejected, known, found, inference_ns)

    def _challenge(self, batch: Batch, online: NDArray[np.float32] | None, champion_ns: int) -> Answers | None:
        return self.challenger and self.challenger.answer(batch, self._features, online, champion_ns / 1e9)

    def _besides(
        self, count: int, online: NDArray[np.float32] | None, answers: Answers | None, reasons: dict[int, Any]
    ) -> tuple[bytes | list[bytes], dict[str, NDArray[np.float32]]]:
        """What stands at the end of each prediction: versions, online inputs, the shadow's probability."""
        columns = {} if online is None else {name: online[:, column] for name, column in self._online}
        features, champion = self._features.version, self._lineup.champion.version
        if answers is None or answers.decides:
            own = versions_of(features, champion)
        else:
            own = versions_of(features, champion, answers.version)
            columns["challenger_probability"] = answers.probability
        if not columns and not reasons and answers is None:
            return own, columns
        versions = [own] * count
        if answers and answers.decides:
            theirs = versions_of(features, answers.version)
            for row in answers.rows.tolist():
                versions[row] = theirs
        return versions, columns

    def _reasons(
        self, alerts: list[int], inputs: NDArray[np.float32], answers: Answers | None
    ) -> dict[int, list[dict[str, Any]]]:
        """Why each alert is one, by its position, from the model whose answer it is."""
        if not self._settings.explain_alerts:
            return {}
        decided = dict(zip(answers.rows.tolist(), answers.inputs, strict=True)) if answers and answers.decides else {}
        theirs = [row for row in alerts if row in decided]
        ours = [row for row in alerts if row not in decided]
        reasons = _explained(self._lineup.champion, ours, inputs[ours])
        if theirs:
            assert self.challenger is not None  # noqa: S101
            reasons |= _explained(self.challenger.model, theirs, np.stack([decided[row] for row in theirs]))
        return reasons


def _explained(model: Model, rows: list[int], inputs: NDArray[np.float32]) -> dict[int, list[dict[str, Any]]]:
    if model.explainer is None or not rows:
        return {}
    return dict(zip(rows, model.explainer.explain(inputs), strict=True))


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
    length = settings.dead_letter_bytes
    kept = mask_text(raw, length) if settings.mask_card_numbers else raw[:length]
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
