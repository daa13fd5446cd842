"""One history, cut by time: what a model may learn from, choose by, and be judged on.

```
 | warm-up | fit | validation |  delay  | holdout |  delay  | now
                              ^ known by then      ^ labelled by now
                                        ^ the training moment
```
At the training moment, where the holdout begins, the labels of the days right before it had not arrived: they are
not learnt from, as they could not have been.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from infra.errors import TerminalError
from infra.settings import TrainingSettings
from training.dataset import Dataset
from training.labels import DAY, UNKNOWN, end_of, known_labels, newest_time, oldest_time


@dataclass(frozen=True)
class Part:
    """Rows of a dataset with their labels.

    Attributes:
        rows: intp [n], rising.
        label: int8 [n], 0 or 1.
    """

    rows: NDArray[np.intp]
    label: NDArray[np.int8]

    @property
    def fraud(self) -> int:
        """How many of the rows are fraud."""
        return int(self.label.sum())


@dataclass(frozen=True)
class Split:
    """The parts, and the training moment in seconds since 1970 of the transactions' clock."""

    fit: Part
    validation: Part
    holdout: Part
    moment: int


def split_by_time(dataset: Dataset, settings: TrainingSettings, as_of: datetime | None = None) -> Split:
    """Cut a history.

    Args:
        dataset: the history.
        settings: delay of labels, lengths of the parts.
        as_of: now, for a look back; left out, when the newest transaction or verdict came.

    Raises:
        TerminalError: it is too short, or a part has not both fraud and genuine rows.
    """
    now = _now(dataset, as_of)
    labels = known_labels(dataset, now, settings)
    if not (labels != UNKNOWN).any():
        raise TerminalError(
            f"no label is known: the history spans {_span(dataset):.1f} days, and labels are known after "
            f"{settings.label_delay_days:g} (FRAUDFLOW_TRAINING__LABEL_DELAY_DAYS)"
        )
    newest = int(dataset.time[labels != UNKNOWN].max())
    moment = newest - round(settings.holdout_days * DAY)
    holdout = _part(labels, (dataset.time > moment) & (labels != UNKNOWN))
    then = known_labels(dataset, moment, settings)
    learnable = (then != UNKNOWN) & (dataset.time > oldest_time(dataset.time) + settings.warmup_days * DAY)
    if not learnable.any():
        raise TerminalError(_too_short(dataset, settings))
    newest_known = int(dataset.time[learnable].max())
    choosing = dataset.time > newest_known - settings.validation_days * DAY
    split = Split(_part(then, learnable & ~choosing), _part(then, learnable & choosing), holdout, moment)
    for name in ("fit", "validation", "holdout"):
        part = getattr(split, name)
        if not 0 < part.fraud < len(part.rows):
            raise TerminalError(
                f"of the {len(part.rows):,} transactions for {name}, {part.fraud:,} are known fraud: fraud and "
                f"genuine ones are needed. {_too_short(dataset, settings)}"
            )
    return split


def newest_part(dataset: Dataset, settings: TrainingSettings, after: int, as_of: datetime | None = None) -> Part:
    """The newest labelled period, as long as the holdout, of which nothing is older than `after`.

    Raises:
        TerminalError: it has not both fraud and genuine rows.
    """
    now = _now(dataset, as_of)
    labels = known_labels(dataset, now, settings)
    known = labels != UNKNOWN
    newest = int(dataset.time[known].max()) if known.any() else after
    part = _part(labels, known & (dataset.time > max(after, newest - settings.holdout_days * DAY)))
    if not 0 < part.fraud < len(part.rows):
        raise TerminalError(
            f"since {_date(after)}, up to where it was learnt from, {len(part.rows):,} transactions are labelled "
            f"and {part.fraud:,} of them are fraud: nothing to judge it by. Wait for labels, or name a newer history"
        )
    return part


def thinned(part: Part, most: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """All fraud and a share of the genuine rows, with the weights that make up for those left out.

    Args:
        part: of a history.
        most: genuine rows.

    Returns:
        Positions in the part, rising, and their weights, float32.
    """
    genuine = np.flatnonzero(part.label == 0)
    kept = genuine
    if len(genuine) > most:
        kept = np.random.default_rng(1).choice(genuine, most, replace=False)
    rows = np.sort(np.concatenate([np.flatnonzero(part.label == 1), kept]))
    return rows, np.where(part.label[rows] == 1, 1.0, len(genuine) / len(kept)).astype(np.float32)


def _part(labels: NDArray[np.int8], chosen: NDArray[np.bool_]) -> Part:
    rows = np.flatnonzero(chosen)
    return Part(rows, labels[rows])


def _now(dataset: Dataset, as_of: datetime | None) -> int:
    return round(as_of.replace(tzinfo=as_of.tzinfo or UTC).timestamp()) if as_of else end_of(dataset)


def _span(dataset: Dataset) -> float:
    return float(newest_time(dataset.time) - oldest_time(dataset.time)) / DAY


def _date(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M}"


def _too_short(dataset: Dataset, settings: TrainingSettings) -> str:
    return (
        f"The history spans {_span(dataset):.1f} days; of them {settings.warmup_days:g} warm up, twice "
        f"{settings.label_delay_days:g} wait for labels, {settings.validation_days:g} and {settings.holdout_days:g} "
        "are for validation and holdout: give a longer one, or shorten these (FRAUDFLOW_TRAINING__..._DAYS)"
    )
