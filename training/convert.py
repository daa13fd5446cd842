"""From a LightGBM booster to ONNX, so that both take the same way through every tree.

LightGBM compares float64 thresholds, ONNX float32 ones. Rounded to nearest, as the converter does it, a threshold can
come to lie above an input that was above it, and that input changes sides. The scorer's inputs are float32: each
threshold is therefore moved down to the next float32 first. No float32 lies between the two, so the booster answers
every input as before, and its thresholds are now what ONNX can hold.

For a split on an input that was never missing in training, LightGBM takes NaN for 0. ONNX (and the converter, for
some of them) does not know of that: the side on which 0 lies is written down as the side of the missing.

LightGBM also reads every input within 1e-35 of 0 as 0 (`kZeroThreshold`), and puts thresholds right there to split
zeros from the rest. A threshold within that zone moves to the edge that leaves the whole zone on the side of 0.

What remains is the sum over the trees, in float32 instead of float64.
"""

import lightgbm as lgb
import numpy as np
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

# LightGBM's model text: include/LightGBM/tree.h, decision_type.
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT, _MISSING_NONE, _MISSING_NAN = 1, 2, 2, 0, 2
_ZERO = np.float32(1e-35)  # include/LightGBM/meta.h, kZeroThreshold
_OPSET = 15  # of the reference model's time; TreeEnsembleClassifier is in ai.onnx.ml 1


def for_float32(booster: lgb.Booster) -> lgb.Booster:
    """A booster with the same answers for all float32 inputs, whose thresholds are float32.

    Raises:
        ValueError: it splits on categories, or takes zeros for missing.
    """
    lines, thresholds = [], []
    for line in booster.model_to_string().splitlines():
        name, _, values = line.partition("=")
        if name == "tree_sizes":
            continue  # bytes of each tree, no longer true; without them the trees are read one after the other
        if name == "threshold":
            thresholds = [float(threshold_of(np.float64(text))) for text in values.split()]
            lines.append("threshold=" + " ".join(repr(value) for value in thresholds))
        elif name == "decision_type":
            # It stands behind the thresholds of its tree.
            kinds = zip((int(text) for text in values.split()), thresholds, strict=True)
            lines.append("decision_type=" + " ".join(str(_explicit(*kind)) for kind in kinds))
        else:
            lines.append(line)
    return lgb.Booster(model_str="\n".join(lines) + "\n")


def threshold_of(value: np.float64) -> np.float32:
    """The float32 that splits all float32 inputs as LightGBM's threshold does."""
    if -_ZERO <= value < 0:
        return np.nextafter(-_ZERO, np.float32(-np.inf))
    if 0 <= value < _ZERO:
        return _ZERO
    return next_below(value)


def next_below(value: np.float64) -> np.float32:
    """The largest float32 that is not above."""
    nearest = np.float32(value)
    return nearest if np.float64(nearest) <= value else np.nextafter(nearest, np.float32(-np.inf))


def _explicit(kind: int, threshold: float) -> int:
    missing = kind >> _MISSING_SHIFT & 3
    if kind & _CATEGORICAL or missing not in {_MISSING_NONE, _MISSING_NAN}:
        raise ValueError(f"a split of decision type {kind} cannot be converted")
    if missing == _MISSING_NAN:
        return kind
    return (_MISSING_NAN << _MISSING_SHIFT) | (_DEFAULT_LEFT if threshold >= 0 else 0)


def to_onnx(booster: lgb.Booster) -> bytes:
    """A booster of `for_float32` as ONNX: one input, float32 [N, inputs]; outputs label and probabilities [N, 2]."""
    model = convert_lightgbm(
        booster,
        initial_types=[("input", FloatTensorType([None, booster.num_feature()]))],
        zipmap=False,
        target_opset=_OPSET,
    )
    return model.SerializeToString()
