"""Small models for tests, trained in a moment: not good, but real."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from infra.model_store import Package
from scoring.history import ONLINE_VERSION
from scoring.manifest import booster_path, decode_manifest, encode_manifest, plain_manifest, write_manifest

ONLINE = (
    "amt",
    "card_count_24h",
    "distance_from_home",
    "card_amount_to_mean",
    "merchant_rate",
    "card_seconds_since_last",
)


def trained(inputs: Sequence[str] = ONLINE, seed: int = 1, threshold: float | None = None) -> Package:
    """A model that finds large values of its first two inputs suspicious; some are missing in training."""
    draw = np.random.default_rng(seed)
    values = draw.lognormal(2, 1.5, (4_000, len(inputs)))
    values[draw.random(values.shape) < 0.1] = np.nan
    labels = (np.nan_to_num(values[:, :2]).sum(axis=1) > 60).astype(int)
    parameters = {"objective": "binary", "num_leaves": 8, "seed": seed, "num_threads": 1, "verbose": -1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(values, labels, feature_name=list(inputs)), 10)
    converted = convert_lightgbm(
        booster, initial_types=[("input", FloatTensorType([None, len(inputs)]))], zipmap=False, target_opset=15
    )
    model, text = converted.SerializeToString(), booster.model_to_string().encode()
    manifest = msgspec.structs.replace(
        plain_manifest(model, f"test-{seed}", inputs),
        online_version=ONLINE_VERSION,
        threshold=threshold,
        booster_sha256=hashlib.sha256(text).hexdigest(),
    )
    return Package(model, encode_manifest(manifest), text)


def saved(package: Package, directory: Path, name: str = "model.onnx") -> Path:
    """The package as files; the path of the model."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(package.model)
    write_manifest(decode_manifest(package.manifest, path), path)
    if package.booster:
        booster_path(path).write_bytes(package.booster)
    return path
