"""The models that score now: the champion, and a challenger that is on trial beside it."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.model_store import Bounds, Roles
from infra.settings import ScoringSettings
from scoring.cards import token
from scoring.features import Batch, Features
from scoring.history import ONLINE_INPUTS
from scoring.model import Model, answered

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lineup:
    """The models by their roles; without roles, the model of the settings is the champion."""

    champion: Model
    challenger: Model | None = None
    roles: Roles | None = None

    @property
    def online(self) -> list[str]:
        """The online inputs that a model of these uses."""
        used = {name for model in (self.champion, self.challenger) if model for name in model.matrix.names}
        return [name for name in ONLINE_INPUTS if name in used]


@dataclass
class Trial:
    """What is known of a challenger so far."""

    transactions: int = 0
    alerts: int = 0
    seconds: float = 0.0
    champion_seconds: float = 0.0
    """For as many transactions."""
    errors: int = 0
    error: str = ""

    def verdict(self, bounds: Bounds) -> str | None:
        """Why the challenger must go; None as long as it keeps to its bounds."""
        if self.errors > bounds.errors:
            return f"it failed in {self.errors} batches, {bounds.errors} are allowed: {self.error}"
        if self.transactions < bounds.after:
            return None
        rate = self.alerts / self.transactions
        if not bounds.lowest_alert_rate <= rate <= bounds.highest_alert_rate:
            return (
                f"{rate:.2%} of {self.transactions:,} transactions were alerts, not {bounds.lowest_alert_rate:.2%} to "
                f"{bounds.highest_alert_rate:.2%}"
            )
        if self.seconds > bounds.inference_factor * self.champion_seconds:
            return (
                f"it took {self.seconds / self.champion_seconds:.1f} times as long as the champion, "
                f"{bounds.inference_factor:g} times is allowed"
            )
        return None


@dataclass
class Answers:
    """What a challenger says to a batch."""

    version: str
    rows: NDArray[np.intp]
    """Of the batch, that it scored."""
    probability: NDArray[np.float32]
    label: NDArray[np.int64]
    alert: NDArray[np.bool_]
    inputs: NDArray[np.float32]
    """Its matrix, of the rows that it scored."""
    decides: bool
    """Whether its answer is the one that counts."""


@dataclass
class Challenger:
    """A challenger at work. Whatever it does, the champion has answered already."""

    model: Model
    roles: Roles
    settings: ScoringSettings
    trial: Trial = field(default_factory=Trial)
    _shares: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def answer(
        self,
        batch: Batch,
        features: Features,
        online: NDArray[np.float32] | None,
        champion_seconds: float,
    ) -> Answers | None:
        """Score the rows that are the challenger's: all in the shadow, those of its cards as a canary.

        Returns:
            None if none are, or if it failed, which is counted.
        """
        rows = np.arange(len(batch)) if self.roles.mode == "shadow" else self._of_its_cards(batch, features)
        if not len(rows):
            return None
        before = time.perf_counter()
        try:
            inputs = self.model.matrix.build(batch.inputs[rows], None if online is None else online[rows])
            probability, label = self.model.predict(inputs)
            if not answered(probability, label).all():
                raise ValueError("a probability is not between 0 and 1, or a label is neither 0 nor 1")
        except Exception as error:  # noqa: BLE001 - whatever a model on trial does, it must not stop the champion
            self.trial.errors += 1
            self.trial.error = f"{type(error).__name__}: {error}"
            logger.warning("challenger %s failed: %s", self.model.version, self.trial.error)
            return None
        alert = probability >= np.float32(threshold(self.model, self.settings))
        self.trial.seconds += time.perf_counter() - before
        self.trial.champion_seconds += champion_seconds * len(rows) / len(batch)
        self.trial.transactions += len(rows)
        self.trial.alerts += int(alert.sum())
        decides = self.roles.mode == "canary"
        return Answers(self.model.version, rows, probability, label, alert, inputs, decides)

    def report(self) -> dict[str, Any]:
        """For `/health`."""
        trial = self.trial
        return {
            "model": self.model.version,
            "mode": self.roles.mode,
            "transactions": trial.transactions,
            "alerts": trial.alerts,
            "errors": trial.errors,
        }

    def renew(self) -> None:
        """The features are new, and cards may have other numbers."""
        self._shares = np.empty(0)

    def _of_its_cards(self, batch: Batch, features: Features) -> NDArray[np.intp]:
        """A card belongs to the canary or does not, on every scorer and whatever comes in between."""
        known = features.customer.frame
        new = known.height - len(self._shares)
        if new:
            self._shares = np.append(self._shares, np.full(new, np.nan))
        customers = np.unique(batch.customer)
        for customer in customers[np.isnan(self._shares[customers])].tolist():
            self._shares[customer] = self._share_of(known["card"][customer])
        return np.flatnonzero(self._shares[batch.customer] < self.roles.canary_share)

    def _share_of(self, card: str) -> float:
        """A number in [0, 1) that is the card's own, from its token."""
        return int(token(card, self.settings.card_token_key.get_secret_value().encode())[:8], 16) / 2**32


def threshold(model: Model, settings: ScoringSettings) -> float:
    """From which probability on a model's answer is an alert."""
    return settings.threshold(model.manifest.threshold)
