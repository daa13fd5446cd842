"""Makes the model without a past that benchmarks use: LightGBM on the static features of simulated transactions.

`uv run --extra train python -m training.baseline` writes scoring/models/static.onnx and prints how good it is.
"""

import argparse
import hashlib
from pathlib import Path

import lightgbm as lgb
import numpy as np
import polars as pl
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.metrics import average_precision_score, roc_auc_score

from scoring.feature_files import read_feature_files
from scoring.features import MODEL_INPUTS, Features
from scoring.model import PROJECT_MODEL, load_model
from scoring.transaction import Transaction
from simulator.demo import ensure_demo_data
from simulator.population import read_population
from simulator.transactions import simulate_transactions

# Codes that number things arbitrarily. A model that splits on them learns one population by heart, and is
# wrong for every other; kept constant in training, they are inputs that no tree looks at.
IDENTITIES = ("cc_num", "merchant", "zip", "job", "transaction_month")

PARAMETERS = {
    "objective": "binary",
    "learning_rate": 0.08,
    "num_leaves": 24,
    "min_data_in_leaf": 200,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 2,
    "verbose": -1,
}
ROUNDS = 80


def model_inputs(features: Features, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The scorer's own inputs of labelled transactions.

    Returns:
        float32 [N, 15] in the order of `MODEL_INPUTS`, and the labels, int64 [N].
    """
    rows = [Transaction(**row) for row in frame.select(Transaction.__struct_fields__).iter_rows(named=True)]
    batch, rejected = features.build(rows, list(range(len(rows))))
    if rejected:
        raise ValueError(f"{len(rejected)} simulated transactions cannot be scored: {next(iter(rejected.values()))}")
    return batch.inputs, frame["is_fraud"].to_numpy()


def main() -> None:
    """Train on the first 70 % of the time, prove on the rest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(".fraudflow/demo-data"))
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7, help="of the transactions; the demo uses others")
    parser.add_argument("--out", type=Path, default=PROJECT_MODEL.with_name("static.onnx"))
    arguments = parser.parse_args()

    ensure_demo_data(arguments.data)
    features = Features(read_feature_files(arguments.data))
    frame = simulate_transactions(read_population(arguments.data), arguments.count, arguments.seed)
    inputs, labels = model_inputs(features, frame)
    cut = int(0.7 * len(labels))
    visible = inputs.copy()
    visible[:, [MODEL_INPUTS.index(name) for name in IDENTITIES]] = 0
    booster = lgb.train(PARAMETERS, lgb.Dataset(visible[:cut], labels[:cut]), num_boost_round=ROUNDS)

    onnx_model = convert_lightgbm(
        booster,
        initial_types=[("input", FloatTensorType([None, len(MODEL_INPUTS)]))],
        zipmap=False,
        target_opset=15,
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(onnx_model.SerializeToString())

    probability, _ = load_model(arguments.out).run(inputs[cut:])
    difference = np.abs(probability - np.asarray(booster.predict(visible[cut:]))).max()
    found = ((probability >= 0.5) & (labels[cut:] == 1)).sum()
    print(f"sha256 {hashlib.sha256(arguments.out.read_bytes()).hexdigest()}, {arguments.out.stat().st_size:,} bytes")
    print(f"average precision {average_precision_score(labels[cut:], probability):.3f}")
    print(f"ROC AUC {roc_auc_score(labels[cut:], probability):.3f}")
    print(f"at 0.5: {found} of {labels[cut:].sum()} found, {(probability >= 0.5).sum()} alerts of {len(labels) - cut}")
    print(f"largest difference between ONNX and LightGBM {difference:.2e}")


if __name__ == "__main__":
    main()
