"""How good a model is, in the terms of this field, and what it is worth in money.

Terms as in "Reproducible Machine Learning for Credit Card Fraud Detection" (Le Borgne et al.): card precision@k is, of
the k cards with the highest score of a day, the share that was misused that day, averaged over days.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from infra.settings import TrainingSettings
from training.dataset import Dataset
from training.labels import DAY
from training.split import Part

FALSE_POSITIVE_RATES = (0.0005, 0.001, 0.005)
CARDS_A_DAY = 100
# Nine in ten probabilities are below 0.01: bins of equal width would put them all into one.
RELIABILITY_EDGES = (0.0, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Money:
    """What a threshold costs over a period, in the currency of the amounts.

    Attributes:
        threshold: from which on a transaction is an alert.
        alerts, found, missed: transactions.
        loss_without: all fraud undetected.
        cost: of the reviews and of what is missed.
        saved: loss_without less cost.
        saved_at_best: what knowing every fraud beforehand would save.
    """

    threshold: float
    alerts: int
    found: int
    missed: int
    loss_without: float
    cost: float
    saved: float
    saved_at_best: float


@dataclass(frozen=True)
class Reliability:
    """One bin of probabilities: its edges, its rows, what was said on average and what came."""

    low: float
    high: float
    rows: int
    mean_probability: float
    fraud_rate: float


@dataclass(frozen=True)
class Metrics:
    """All of it, for one model on one period.

    Attributes:
        recall_at_fpr: by false-positive rate.
        card_precision: @CARDS_A_DAY, and what a perfect order would have (days with fewer misused cards).
        calibration_error: expected calibration error, weighted by rows.
        expected_fraud: the sum of the probabilities; beside `fraud` it tells whether they mean something.
    """

    rows: int
    fraud: int
    average_precision: float
    roc_auc: float
    recall_at_fpr: dict[str, float]
    card_precision: float
    card_precision_at_best: float
    brier: float
    calibration_error: float
    expected_fraud: float
    precision: float
    recall: float
    money: Money
    reliability: list[Reliability]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def loss(amount: NDArray[np.float64], settings: TrainingSettings) -> NDArray[np.float64]:
    """What is lost if these transactions are fraud and nobody looks."""
    return np.abs(amount) * settings.fraud_loss_share + settings.fraud_loss_fixed


def cheapest_threshold(
    probability: NDArray[np.float32], label: NDArray[np.int8], amount: NDArray[np.float64], settings: TrainingSettings
) -> float:
    """The probability from which on alerts cost least, reviews plus what is missed; at least one row is an alert."""
    order = np.argsort(-probability, kind="stable")
    lost = np.where(label[order] == 1, loss(amount[order], settings), 0.0)
    cost = settings.review_cost * np.arange(len(order) + 1) + lost.sum() - np.concatenate([[0.0], np.cumsum(lost)])
    ranked = probability[order]
    # Rows of equal probability are alerts together, or none of them is.
    cuts = np.flatnonzero(np.diff(ranked, append=-1.0) != 0) + 1
    best = cuts[np.argmin(cost[cuts])]
    below = ranked[best] if best < len(ranked) else np.float32(0)
    # Half-way to the next row: on the row itself, a rounding elsewhere could decide.
    return float(np.float32((ranked[best - 1] + below) / 2)) if below < ranked[best - 1] else float(ranked[best - 1])


def money(
    probability: NDArray[np.float32],
    label: NDArray[np.int8],
    amount: NDArray[np.float64],
    threshold: float,
    settings: TrainingSettings,
) -> Money:
    """What alerts from `threshold` on cost and save."""
    alert, fraud = probability >= np.float32(threshold), label == 1
    lost = loss(amount, settings)
    without = float(lost[fraud].sum())
    cost = float(settings.review_cost * alert.sum() + lost[fraud & ~alert].sum())
    at_best = float(np.maximum(lost[fraud] - settings.review_cost, 0).sum())
    found = int((alert & fraud).sum())
    return Money(threshold, int(alert.sum()), found, int(fraud.sum()) - found, without, cost, without - cost, at_best)


def evaluate(
    probability: NDArray[np.float32],
    label: NDArray[np.int8],
    *,
    time: NDArray[np.int64],
    card: NDArray[np.int32],
    amount: NDArray[np.float64],
    threshold: float,
    settings: TrainingSettings,
) -> Metrics:
    """Judge probabilities by what turned out; all arrays are [rows]."""
    false_positives, recall, _ = roc_curve(label, probability, drop_intermediate=False)
    reached = {f"{rate:g}": float(recall[false_positives <= rate].max()) for rate in FALSE_POSITIVE_RATES}
    at = money(probability, label, amount, threshold, settings)
    cards, best = _card_precision(probability, label, time, card)
    bins = reliability(probability, label)
    return Metrics(
        rows=len(label),
        fraud=int(label.sum()),
        average_precision=float(average_precision_score(label, probability)),
        roc_auc=float(roc_auc_score(label, probability)),
        recall_at_fpr=reached,
        card_precision=cards,
        card_precision_at_best=best,
        brier=float(brier_score_loss(label, probability)),
        calibration_error=sum(b.rows * abs(b.mean_probability - b.fraud_rate) for b in bins) / len(label),
        expected_fraud=float(probability.astype(np.float64).sum()),
        precision=at.found / at.alerts if at.alerts else 0.0,
        recall=at.found / (at.found + at.missed) if at.found + at.missed else 0.0,
        money=at,
        reliability=bins,
    )


def judge(
    dataset: Dataset, part: Part, probability: NDArray[np.float32], threshold: float, settings: TrainingSettings
) -> Metrics:
    """`evaluate` for probabilities of a part's rows."""
    return evaluate(
        probability,
        part.label,
        time=np.asarray(dataset.time[part.rows]),
        card=np.asarray(dataset.card[part.rows]),
        amount=np.asarray(dataset.amount[part.rows]),
        threshold=threshold,
        settings=settings,
    )


def reliability(probability: NDArray[np.float32], label: NDArray[np.int8]) -> list[Reliability]:
    """What the probabilities of each bin promised, and what came; bins without rows are left out."""
    place = np.clip(np.digitize(probability, RELIABILITY_EDGES) - 1, 0, len(RELIABILITY_EDGES) - 2)
    bins = []
    for at in np.unique(place).tolist():
        inside = place == at
        bins.append(
            Reliability(
                RELIABILITY_EDGES[at],
                RELIABILITY_EDGES[at + 1],
                int(inside.sum()),
                float(probability[inside].mean(dtype=np.float64)),
                float(label[inside].mean()),
            )
        )
    return bins


def _card_precision(
    probability: NDArray[np.float32], label: NDArray[np.int8], time: NDArray[np.int64], card: NDArray[np.int32]
) -> tuple[float, float]:
    """Card precision@CARDS_A_DAY averaged over days, and that of a perfect order."""
    found, best = [], []
    day = time // DAY
    for today in np.unique(day):
        rows = np.flatnonzero(day == today)
        cards, place = np.unique(card[rows], return_inverse=True)
        score, misused = np.zeros(len(cards), np.float32), np.zeros(len(cards), np.int8)
        np.maximum.at(score, place, probability[rows])
        np.maximum.at(misused, place, label[rows])
        k = min(CARDS_A_DAY, len(cards))
        found.append(misused[np.argsort(-score, kind="stable")[:k]].mean())
        best.append(min(int(misused.sum()), k) / k)
    return float(np.mean(found)), float(np.mean(best))
