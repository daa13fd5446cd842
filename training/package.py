"""A model's files: the ONNX file, its manifest and its booster, as scorers and the registry take them."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from scoring.history import ONLINE_INPUTS, ONLINE_VERSION
from scoring.manifest import (
    Distribution,
    ModelInput,
    ModelManifest,
    Parity,
    TrainingData,
    booster_path,
    write_manifest,
)
from scoring.model import load_model
from training.convert import to_onnx
from training.dataset import Dataset
from training.distribution import distribution
from training.input_sets import INPUT_SETS
from training.learn import Work, fitted_model
from training.metrics import Metrics, judge
from training.parity import LEAST_ROWS, Proof, prove
from training.served import MODEL_FILE, predict_part
from training.split import Part, Split

# Rows of the training data that tell how inputs are spread; more changes no share in its third digit.
_REFERENCE_ROWS = 300_000


@dataclass(frozen=True)
class Made:
    """A packed model: where it is, what it is, how good, and how exact."""

    path: Path
    manifest: ModelManifest
    metrics: Metrics
    proof: Proof


def pack(work: Work, inputs: str, name: str) -> Made:
    """Convert a fitted model, prove the conversion, judge it on the holdout, and write it with its manifest.

    Raises:
        TerminalError: the ONNX model does not answer as the booster does.
    """
    dataset, split = work.open()
    booster, made = fitted_model(work, inputs)
    names = INPUT_SETS[inputs]
    directory = work.folder / "model"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / MODEL_FILE
    path.write_bytes(to_onnx(booster))
    booster_path(path).write_text(booster.model_to_string())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = ModelManifest(
        name=name,
        version=sha256[:16],
        sha256=sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        inputs=[ModelInput(column) for column in names],
        online_version=ONLINE_VERSION if set(names) & set(ONLINE_INPUTS) else None,
        trained_on=_trained_on(dataset, split),
        threshold=made["threshold"],
        booster_sha256=hashlib.sha256(booster_path(path).read_bytes()).hexdigest(),
    )
    write_manifest(manifest, path)
    model = load_model(path)
    rows = split.holdout.rows
    rows = rows if len(rows) <= LEAST_ROWS else np.sort(np.random.default_rng(1).choice(rows, LEAST_ROWS, False))
    proof = prove(booster, lambda inputs: model.run(inputs)[0], dataset.matrix(rows, names))
    probability = predict_part(model, dataset, split.holdout)
    metrics = judge(dataset, split.holdout, probability, made["threshold"], work.settings)
    looked_at = {n for n, count in zip(names, booster.feature_importance("split"), strict=True) if count}
    manifest = msgspec.structs.replace(
        manifest,
        metrics=flat(metrics),
        parity=Parity(proof.rows, proof.largest_difference),
        reference=_reference(dataset, split.fit, names, looked_at) | {"score": distribution(probability)},
    )
    write_manifest(manifest, path)
    return Made(path, manifest, metrics, proof)


def flat(metrics: Metrics) -> dict[str, float]:
    """The metrics that are one number each, by the names that MLflow and the manifest have them under."""
    money = metrics.money
    return {
        "rows": float(metrics.rows),
        "fraud": float(metrics.fraud),
        "average_precision": metrics.average_precision,
        "roc_auc": metrics.roc_auc,
        **{f"recall_at_fpr_{rate}": recall for rate, recall in metrics.recall_at_fpr.items()},
        "card_precision_at_100": metrics.card_precision,
        "brier": metrics.brier,
        "calibration_error": metrics.calibration_error,
        "expected_fraud": metrics.expected_fraud,
        "threshold": money.threshold,
        "precision": metrics.precision,
        "recall": metrics.recall,
        "alert_rate": money.alerts / metrics.rows,
        "cost_saved": money.saved,
        "cost_saved_share": money.saved / money.saved_at_best if money.saved_at_best else 0.0,
    }


def _trained_on(dataset: Dataset, split: Split) -> TrainingData:
    time = dataset.time[split.fit.rows]
    return TrainingData(
        source=str(dataset.meta["source"]),
        first=_text(int(time.min())),
        last=_text(int(dataset.time[split.validation.rows].max())),
        rows=len(split.fit.rows) + len(split.validation.rows),
        fraud=split.fit.fraud + split.validation.fraud,
        features_version=str(dataset.meta["features"]),
    )


def _reference(dataset: Dataset, part: Part, names: tuple[str, ...], looked_at: set[str]) -> dict[str, Distribution]:
    """Of the inputs that some tree looks at: what the others do changes no answer."""
    inputs = _sample(dataset, part, names)
    return {name: distribution(inputs[:, at]) for at, name in enumerate(names) if name in looked_at}


def _sample(dataset: Dataset, part: Part, names: tuple[str, ...]) -> np.ndarray:
    rows = part.rows
    if len(rows) > _REFERENCE_ROWS:
        rows = np.sort(np.random.default_rng(2).choice(rows, _REFERENCE_ROWS, replace=False))
    return dataset.matrix(rows, names)


def _text(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
