"""Proof that an ONNX model answers as its booster does, where it is hardest: on and beside every threshold.

A row that is to test a split must come there. Each is a real row whose inputs are moved, as little as needed, into the
box of values that lead to the split; then the split's own input is put on the threshold, on the float32 below it and
on the one above, on 0, and, where it may be missing, on NaN.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from infra.errors import TerminalError

LIMIT = 1e-5
LEAST_ROWS = 100_000
_ROWS_AT_SPLIT = 5

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Proof:
    """What was compared.

    Attributes:
        rows: in all.
        splits: of all trees.
        split_rows: rows on and beside the thresholds.
        largest_difference: of the probabilities.
        mean_difference: of their absolute values.
    """

    rows: int
    splits: int
    split_rows: int
    largest_difference: float
    mean_difference: float

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def prove(booster: lgb.Booster, predict: Predict, rows: NDArray[np.float32]) -> Proof:
    """Compare a booster and the ONNX model made of it.

    Args:
        booster: whose thresholds are float32.
        predict: of the ONNX model, float32 [n, inputs] to probabilities [n].
        rows: real ones; at least one. Fewer than `LEAST_ROWS` are filled up with rows at thresholds.

    Raises:
        TerminalError: they differ by more than `LIMIT`.
    """
    tested = list(_boxes(booster))
    rng = np.random.default_rng(1)
    largest, total = _compare(booster, predict, rows)
    split_rows = 0
    rounds = 1 + max(0, LEAST_ROWS - len(rows)) // max(1, _ROWS_AT_SPLIT * len(tested))
    for start in range(0, len(tested), 500):
        part = tested[start : start + 500]
        made = np.concatenate([_at_split(split, rows, rng) for split in part for _ in range(rounds)])
        difference, of_all = _compare(booster, predict, made)
        largest, total, split_rows = max(largest, difference), total + of_all, split_rows + len(made)
    if not largest <= LIMIT:
        raise TerminalError(
            f"the ONNX model differs from LightGBM by {largest:.2e} where {LIMIT:g} is allowed: it is refused"
        )
    count = len(rows) + split_rows
    return Proof(count, len(tested), split_rows, largest, total / count)


@dataclass(frozen=True)
class _Split:
    """A split: its input and threshold, and the open-closed box (low, high] of inputs that lead there."""

    feature: int
    threshold: np.float32
    low: dict[int, np.float32]
    high: dict[int, np.float32]


def _boxes(booster: lgb.Booster) -> Iterator[_Split]:
    for tree in booster.dump_model()["tree_info"]:
        waiting: list[tuple[dict[str, Any], dict, dict]] = [(tree["tree_structure"], {}, {})]
        while waiting:
            node, low, high = waiting.pop()
            if "split_feature" not in node:
                continue
            feature, threshold = node["split_feature"], np.float32(node["threshold"])
            yield _Split(feature, threshold, low, high)
            waiting.append((node["left_child"], low, high | {feature: min(high.get(feature, threshold), threshold)}))
            waiting.append((node["right_child"], low | {feature: max(low.get(feature, threshold), threshold)}, high))


def _at_split(split: _Split, rows: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A real row that is led to the split, and the values around the threshold: float32 [5, inputs]."""
    row = rows[rng.integers(len(rows))].copy()
    for feature in split.low.keys() | split.high.keys():
        low, high = split.low.get(feature, np.float32(-np.inf)), split.high.get(feature, np.float32(np.inf))
        if not low < row[feature] <= high:
            row[feature] = high if np.isfinite(high) else np.nextafter(low, np.float32(np.inf))
    values = (
        split.threshold,
        np.nextafter(split.threshold, np.float32(-np.inf)),
        np.nextafter(split.threshold, np.float32(np.inf)),
        np.float32(0),
        np.float32(np.nan),
    )
    made = np.repeat(row[None, :], len(values), axis=0)
    made[:, split.feature] = values
    return made


def _compare(booster: lgb.Booster, predict: Predict, rows: NDArray[np.float32]) -> tuple[float, float]:
    """Largest and summed difference."""
    largest = total = 0.0
    for start in range(0, len(rows), 50_000):
        part = rows[start : start + 50_000]
        difference = np.abs(predict(part) - np.asarray(booster.predict(part)))
        # A NaN is the largest difference there is.
        largest = max(largest, float(np.nan_to_num(difference, nan=np.inf).max()))
        total += float(difference.sum())
    return largest, total
