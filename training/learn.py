"""The steps from a history to a model that can be promoted. Each leaves files in the run's folder for the next one.

A run's folder: `<inputs>.txt` and `<inputs>.json` of each booster, then `model/` with the files of the model and its
report, which is what the registry keeps.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import lightgbm as lgb

from infra.settings import TrainingSettings
from training import floor
from training.convert import for_float32
from training.dataset import Dataset
from training.fit import fit, predict
from training.input_sets import INPUT_SETS
from training.metrics import Metrics, cheapest_threshold, judge
from training.split import Split, split_by_time


@dataclass(frozen=True)
class Work:
    """What a run works on.

    Attributes:
        history: folder of the dataset.
        folder: of the run.
        as_of: "now", for a look back.
        settings: of the training.
    """

    history: Path
    folder: Path
    settings: TrainingSettings
    as_of: datetime | None = None

    def open(self) -> tuple[Dataset, Split]:
        """The history and its parts.

        Raises:
            TerminalError: it is too short, or lacks known fraud.
        """
        dataset = Dataset.load(self.history)
        return dataset, split_by_time(dataset, self.settings, self.as_of)


def fit_model(work: Work, inputs: str) -> dict[str, Any]:
    """Search and fit LightGBM on one of `INPUT_SETS`, and choose its threshold on the validation part.

    Returns:
        Its parameters, trials, trees and threshold, as they are also written.
    """
    dataset, split = work.open()
    names = INPUT_SETS[inputs]
    fitted = fit(dataset, split, names, work.settings)
    booster = for_float32(fitted.booster)
    probability = predict(booster, dataset, split.validation, names)
    threshold = cheapest_threshold(
        probability, split.validation.label, dataset.amount[split.validation.rows], work.settings
    )
    made = {
        "inputs": inputs,
        "parameters": fitted.parameters,
        "trials": fitted.trials,
        "trees": booster.num_trees(),
        "threshold": threshold,
    }
    work.folder.mkdir(parents=True, exist_ok=True)
    (work.folder / f"{inputs}.txt").write_text(booster.model_to_string())
    (work.folder / f"{inputs}.json").write_text(json.dumps(made))
    return made


def fitted_model(work: Work, inputs: str) -> tuple[lgb.Booster, dict[str, Any]]:
    """What `fit_model` has left."""
    booster = lgb.Booster(model_str=(work.folder / f"{inputs}.txt").read_text())
    return booster, json.loads((work.folder / f"{inputs}.json").read_text())


def judge_model(work: Work, inputs: str) -> Metrics:
    """How good a fitted model is on the holdout."""
    dataset, split = work.open()
    booster, made = fitted_model(work, inputs)
    probability = predict(booster, dataset, split.holdout, INPUT_SETS[inputs])
    return judge(dataset, split.holdout, probability, made["threshold"], work.settings)


def judge_floor(work: Work, inputs: str) -> Metrics:
    """How good logistic regression is on the same rows."""
    dataset, split = work.open()
    names = INPUT_SETS[inputs]
    model = floor.fit_floor(dataset, split, names)
    chosen = floor.predict_floor(model, dataset, split.validation, names)
    threshold = cheapest_threshold(chosen, split.validation.label, dataset.amount[split.validation.rows], work.settings)
    probability = floor.predict_floor(model, dataset, split.holdout, names)
    return judge(dataset, split.holdout, probability, threshold, work.settings)
