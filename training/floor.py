"""Logistic regression: what a model must beat to be worth its trouble."""

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from training.dataset import Dataset
from training.split import Part, Split, thinned

# Codes without an order. Those that number cards, merchants, towns and jobs have too many values for it.
_CODES = ("category", "transaction_weekday", "transaction_hour", "gender", "setting", "age_group")
_FIT_ROWS = 300_000


def fit_floor(dataset: Dataset, split: Split, names: tuple[str, ...]) -> Pipeline:
    """Fit on the split's part for it, thinned to `_FIT_ROWS`; what it is thinned by is given back as weight."""
    rows, weight = thinned(split.fit, _FIT_ROWS)
    codes = [at for at, name in enumerate(names) if name in _CODES]
    numbers = [at for at, name in enumerate(names) if name not in _CODES]
    prepare = ColumnTransformer(
        [
            ("codes", OneHotEncoder(handle_unknown="ignore"), codes),
            (
                "numbers",
                make_pipeline(
                    FunctionTransformer(_signed_log),
                    SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
                    StandardScaler(),
                ),
                numbers,
            ),
        ],
        sparse_threshold=0,
    )
    model = Pipeline([("prepare", prepare), ("model", LogisticRegression(max_iter=300, C=1.0))])
    inputs = dataset.matrix(split.fit.rows[rows], names)
    model.fit(inputs, split.fit.label[rows], model__sample_weight=weight)
    return model


def predict_floor(model: Pipeline, dataset: Dataset, part: Part, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Probabilities of a part's rows, float32 [n]."""
    pieces = [part.rows[at : at + 200_000] for at in range(0, len(part.rows), 200_000)]
    found = [model.predict_proba(dataset.matrix(rows, names))[:, 1] for rows in pieces]
    return np.concatenate(found).astype(np.float32)


def _signed_log(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Amounts, distances and counts have long tails, which a straight line cannot follow."""
    return np.sign(values) * np.log1p(np.abs(values))
