"""A model as scorers serve it."""

import numpy as np
from numpy.typing import NDArray

from scoring.model import Model
from training.dataset import Dataset
from training.split import Part

MODEL_FILE = "fraud.onnx"


def predict_part(model: Model, dataset: Dataset, part: Part) -> NDArray[np.float32]:
    """Probabilities of a part's rows, float32 [N]."""
    pieces = [part.rows[at : at + 100_000] for at in range(0, len(part.rows), 100_000)]
    return np.concatenate([model.run(dataset.matrix(rows, model.manifest.names))[0] for rows in pieces])
