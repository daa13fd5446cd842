"""How far what flows now is from what a model has learnt from: the population stability index of each input.

PSI is the sum over bins of (now - then) * ln(now / then), then and now being the shares of the rows. Below 0.1 little
has changed, from 0.25 on much has (Siddiqi, Credit Risk Scorecards, 2006). The bins are tenths of the learnt rows, or
the values themselves where there are few, and one more for what is missing.
"""

import numpy as np
from numpy.typing import NDArray

from scoring.manifest import Distribution
from training.distribution import counts

# A bin that no row of one side is in would make the index infinite.
_LEAST_SHARE = 1e-4


def shares_now(reference: Distribution, values: NDArray[np.float32]) -> list[float]:
    """The share of the rows in each bin of a reference, and last of those missing.

    Values beyond the outermost edges are in the outermost bins.
    """
    known = values[~np.isnan(values)].astype(np.float64)
    missing = 1 - len(known) / len(values)
    # What was always missing has no bins: all that is known now is in one that was empty.
    found = counts(known, reference.edges) if reference.edges else np.array([len(known)])
    return [*(found / len(values)).tolist(), missing]


def shares_then(reference: Distribution) -> list[float]:
    """The same of the training data."""
    return [*(reference.shares or [0.0]), max(0.0, 1 - sum(reference.shares))]


def psi(reference: Distribution, values: NDArray[np.float32]) -> float:
    """The population stability index of values against a reference."""
    then = np.maximum(shares_then(reference), _LEAST_SHARE)
    now = np.maximum(shares_now(reference, values), _LEAST_SHARE)
    return float(((now - then) * np.log(now / then)).sum())
