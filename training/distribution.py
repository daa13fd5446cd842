"""How values of an input are spread, as a manifest holds it of the training data."""

import numpy as np
from numpy.typing import NDArray

from scoring.manifest import Distribution

BINS = 10
# Codes of hours, weekdays, categories: each value is a bin of its own.
_FEW_VALUES = 30


def distribution(values: NDArray[np.float32]) -> Distribution:
    """How values are spread, in bins that suit them; NaN is missing."""
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        return Distribution([], [])
    distinct = np.unique(known)
    few = len(distinct) <= _FEW_VALUES
    inner = distinct[1:] if few else np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
    inner = inner[inner > distinct[0]]
    edges = np.concatenate([distinct[:1], inner, distinct[-1:]]).tolist()
    return Distribution(edges, (counts(known, edges) / len(values)).tolist())


def counts(known: NDArray[np.float64], edges: list[float]) -> NDArray[np.int64]:
    """How many of the values are in each bin; those beyond the outermost edges are in the outermost bins."""
    inner = np.asarray(edges[1:-1], np.float64)
    return np.bincount(np.searchsorted(inner, known, side="right"), minlength=len(inner) + 1)
