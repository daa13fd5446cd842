"""LightGBM on one part of a history, with a search of its parameters that is bounded in time.

The loss is the plain log loss. Where genuine rows are left out, to save time, weights make up for them, and the rare
class has no weight of its own: so the probabilities mean what they say, and nothing has to be mended behind the model.
"""

import logging
import os
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import optuna
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from infra.settings import TrainingSettings
from training.dataset import Dataset
from training.split import Part, Split, thinned

logger = logging.getLogger(__name__)

# Trees cost the scorer time on each transaction, some 15 ns each, and they are what the file's size is.
MAX_ROUNDS = 150
MAX_LEAVES = 32
_PATIENCE = 20
# All fraud, and at most so many genuine rows: they bound memory and time, and more of them say little new.
_SEARCH_ROWS = 150_000
_FIT_ROWS = 600_000

DEFAULTS: dict[str, Any] = {
    "learning_rate": 0.1,
    "num_leaves": 24,
    "min_data_in_leaf": 200,
    "lambda_l2": 1.0,
    "feature_fraction": 0.8,
    "min_gain_to_split": 0.0,
}


@dataclass(frozen=True)
class Fitted:
    """A booster on these inputs.

    Attributes:
        names: of the inputs, in the booster's order.
        booster: at its best round.
        parameters: with which it was fitted.
        trials: that the search has made.
    """

    names: tuple[str, ...]
    booster: lgb.Booster
    parameters: dict[str, Any]
    trials: int


def fit(dataset: Dataset, split: Split, names: tuple[str, ...], settings: TrainingSettings) -> Fitted:
    """Search, then fit on the split's part for it."""
    parameters, trials = _search(dataset, split, names, settings)
    rows, weight = thinned(split.fit, _FIT_ROWS)
    train = lgb.Dataset(
        dataset.matrix(split.fit.rows[rows], names), split.fit.label[rows], weight=weight, feature_name=list(names)
    )
    valid = lgb.Dataset(dataset.matrix(split.validation.rows, names), split.validation.label, reference=train)
    booster = _boost(parameters, train, valid, settings)
    return Fitted(names, booster, parameters, trials)


def predict(booster: lgb.Booster, dataset: Dataset, part: Part, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Probabilities of a part's rows, float32 [n]."""
    return np.asarray(booster.predict(dataset.matrix(part.rows, names)), np.float32)


def _boost(
    parameters: dict[str, Any], train: lgb.Dataset, valid: lgb.Dataset, settings: TrainingSettings
) -> lgb.Booster:
    fixed = {
        "objective": "binary",
        "metric": "binary_logloss",
        "seed": 1,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": settings.threads or os.cpu_count() or 1,
        "verbose": -1,
    }
    stop = lgb.early_stopping(_PATIENCE, verbose=False)
    booster = lgb.train(parameters | fixed, train, MAX_ROUNDS, valid_sets=[valid], callbacks=[stop])
    return lgb.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))


def _search(
    dataset: Dataset, split: Split, names: tuple[str, ...], settings: TrainingSettings
) -> tuple[dict[str, Any], int]:
    """The parameters with the best average precision on the validation part, and how many were tried."""
    if not settings.search_seconds:
        return DEFAULTS, 0
    rows, weight = thinned(split.fit, _SEARCH_ROWS)
    inputs, label = dataset.matrix(split.fit.rows[rows], names), split.fit.label[rows]
    few, few_weight = thinned(split.validation, _SEARCH_ROWS)
    valid_inputs = dataset.matrix(split.validation.rows[few], names)
    valid_label = split.validation.label[few]
    fitted = min(len(split.fit.rows), _FIT_ROWS)

    def trial(trial: optuna.Trial) -> float:
        parameters = {
            "learning_rate": trial.suggest_float("learning_rate", 0.05, 0.25, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 8, MAX_LEAVES),
            "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 50, 1000, log=True),
            "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 30, log=True),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.4, 1.0),
            "min_gain_to_split": trial.suggest_float("min_gain_to_split", 0.0, 2.0),
        }
        leaf = max(1, round(parameters["min_data_in_leaf"] * len(rows) / fitted))
        train = lgb.Dataset(inputs, label, weight=weight, feature_name=list(names))
        valid = lgb.Dataset(valid_inputs, valid_label, weight=few_weight, reference=train)
        booster = _boost(parameters | {"min_data_in_leaf": leaf}, train, valid, settings)
        return float(
            average_precision_score(valid_label, booster.predict(valid_inputs), sample_weight=few_weight)  # type: ignore[arg-type]
        )

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=1))
    study.enqueue_trial(DEFAULTS)
    study.optimize(trial, timeout=settings.search_seconds)
    logger.info("search: %d trials, average precision %.4f", len(study.trials), study.best_value)
    return study.best_params, len(study.trials)
