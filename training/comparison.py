"""A challenger and the champion, judged on the same rows."""

from dataclasses import dataclass
from datetime import datetime

from infra.settings import Settings
from scoring.model import Model
from training.dataset import Dataset
from training.metrics import Metrics, judge
from training.served import predict_part
from training.split import Part

LEARNT = ", which may have learnt from some of these"
"""Behind the name of a model, where it may be so."""


@dataclass(frozen=True)
class Comparison:
    """A challenger and the champion on the same rows."""

    challenger: Metrics
    champion: Metrics

    @property
    def refusal(self) -> str | None:
        """Why the challenger is worse; None if it is not."""
        new, old = self.challenger, self.champion
        if new.average_precision < old.average_precision:
            return f"its average precision is {new.average_precision:.4f}, the champion's {old.average_precision:.4f}"
        if new.money.saved < old.money.saved:
            return f"at its threshold it saves {new.money.saved:,.0f}, the champion {old.money.saved:,.0f}"
        return None


def learnt_until(model: Model) -> int:
    """The time of the newest transaction it has learnt from, in seconds since 1970; 0 if its manifest is silent."""
    learnt = model.manifest.trained_on
    return round(datetime.fromisoformat(f"{learnt.last}+00:00").timestamp()) if learnt else 0


def compare(dataset: Dataset, part: Part, challenger: Model, champion: Model, settings: Settings) -> Comparison:
    """Judge both on the rows of a part, each at the threshold that it would be served with."""
    return Comparison(
        judge_served(dataset, part, challenger, settings), judge_served(dataset, part, champion, settings)
    )


def judge_served(dataset: Dataset, part: Part, model: Model, settings: Settings) -> Metrics:
    """How good a model is as scorers serve it."""
    at = settings.scoring.threshold(model.manifest.threshold)
    return judge(dataset, part, predict_part(model, dataset, part), at, settings.training)
