"""A model as scorers serve it, from its files alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from infra.model_store import Package
from scoring.manifest import (
    ModelManifest,
    booster_path,
    decode_manifest,
    encode_manifest,
    manifest_path,
    plain_manifest,
)
from training.dataset import Dataset
from training.split import Part

MODEL_FILE = "fraud.onnx"


@dataclass(frozen=True)
class Served:
    """A loaded model."""

    manifest: ModelManifest
    session: ort.InferenceSession

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of rows in the manifest's inputs, float32 [N]."""
        result = np.asarray(self.session.run(["probabilities"], {"input": inputs})[0])
        return np.ascontiguousarray(result[:, -1], np.float32)

    def predict_part(self, dataset: Dataset, part: Part) -> NDArray[np.float32]:
        """Probabilities of a part's rows, float32 [N]."""
        pieces = [part.rows[at : at + 100_000] for at in range(0, len(part.rows), 100_000)]
        return np.concatenate([self.predict(dataset.matrix(rows, self.manifest.names)) for rows in pieces])


def serve(package: Package) -> Served:
    """Load a package."""
    return Served(decode_manifest(package.manifest, package.version), ort.InferenceSession(package.model))


def read_package(model: Path) -> Package:
    """The files of a model on disk."""
    booster, manifest, data = booster_path(model), manifest_path(model), model.read_bytes()
    return Package(
        model=data,
        manifest=manifest.read_bytes() if manifest.is_file() else encode_manifest(plain_manifest(data, model.stem)),
        booster=booster.read_bytes() if booster.is_file() else None,
    )
