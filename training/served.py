"""A model as scorers serve it, from its files alone."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.model_store import Package
from scoring.manifest import booster_path, encode_manifest, manifest_path, plain_manifest
from scoring.model import Model
from training.dataset import Dataset
from training.split import Part

MODEL_FILE = "fraud.onnx"


def predict_part(model: Model, dataset: Dataset, part: Part) -> NDArray[np.float32]:
    """Probabilities of a part's rows, float32 [N]."""
    pieces = [part.rows[at : at + 100_000] for at in range(0, len(part.rows), 100_000)]
    return np.concatenate([model.predict(dataset.matrix(rows, model.manifest.names))[0] for rows in pieces])


def read_package(model: Path) -> Package:
    """The files of a model on disk."""
    booster, manifest, data = booster_path(model), manifest_path(model), model.read_bytes()
    return Package(
        model=data,
        manifest=manifest.read_bytes() if manifest.is_file() else encode_manifest(plain_manifest(data, model.stem)),
        booster=booster.read_bytes() if booster.is_file() else None,
    )
