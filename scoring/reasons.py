"""Why a transaction is an alert: what raised this score most, in words.

TreeSHAP (Lundberg et al., 2020), as LightGBM computes it from the booster: each input's share of the difference
between this transaction's log-odds and the average. For alerts only: it costs a hundred times what the score does.
"""

import hashlib
import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import TerminalError
from scoring.manifest import ModelManifest

logger = logging.getLogger(__name__)

# An analyst reads three to five; the others add little.
MOST = 4

_SPANS = {"1h": "the last hour", "24h": "the last 24 hours", "7d": "the last 7 days"}
_WORDS = {
    "amt": "an amount of {:,.2f}",
    "distance_from_home": "{:,.0f} km from the customer's home",
    "age": "a customer of {:.0f} years",
    "city_pop": "a home town of {:,.0f} people",
    "category": "the merchant's category",
    "merchant": "this merchant",
    "transaction_hour": "at {:02.0f} o'clock",
    "transaction_weekday": "the day of the week",
    "transaction_month": "the month",
    "gender": "the customer's gender",
    "zip": "the customer's ZIP code",
    "job": "the customer's job",
    "setting": "the customer's setting, urban or rural",
    "age_group": "the customer's age group",
    "cc_num": "this card",
    "card_km_since_last": "{:,.0f} km from the card's last transaction",
    "card_kmh_since_last": "{:,.0f} km/h since the card's last transaction",
    "card_amount_to_mean": "{:,.1f} times the card's mean amount of the last 7 days",
    "card_amount_z": "{:+,.1f} standard deviations from the card's mean amount",
    "merchant_rate": "{:,.1f} transactions an hour at this merchant",
}
_MISSING = {
    "card_amount_to_mean": "no earlier amount in the last 7 days to compare with",
    "card_amount_z": "too few earlier amounts in the last 7 days to compare with",
    "merchant_rate": "no earlier transaction at this merchant",
    "category": "a category without a code",
}


class Explainer:
    """Explains the scores of one model."""

    def __init__(self, booster: Any, names: tuple[str, ...]):
        """Args: `booster` is a LightGBM booster with the inputs `names`, in their order."""
        self._booster, self._names = booster, names

    def explain(self, inputs: NDArray[np.float32]) -> list[list[dict[str, Any]]]:
        """The reasons for each row, the strongest first: input, value, contribution to the log-odds, text.

        Args:
            inputs: float32 [N, inputs], as the model got it.
        """
        shares = np.asarray(self._booster.predict(inputs, pred_contrib=True, num_threads=1))[:, :-1]
        strongest = np.argsort(-shares, axis=1, kind="stable")[:, :MOST]
        return [
            [self._reason(column, float(row[column]), float(of_row[column])) for column in best if of_row[column] > 0]
            for row, of_row, best in zip(inputs, shares, strongest.tolist(), strict=True)
        ]

    def _reason(self, column: int, value: float, contribution: float) -> dict[str, Any]:
        name = self._names[column]
        known = None if math.isnan(value) else value
        return {"input": name, "value": known, "contribution": round(contribution, 4), "text": words(name, known)}


def explainer(booster: bytes | None, manifest: ModelManifest, where: object) -> Explainer | None:
    """The explainer of a model; None without a booster, or where LightGBM (the extra `explain`) is not installed.

    Raises:
        TerminalError: the booster is not the one that the manifest names, or has other inputs.
    """
    if booster is None:
        return None
    if hashlib.sha256(booster).hexdigest() != manifest.booster_sha256:
        raise TerminalError(f"{where}: its booster is not the one that the manifest names by sha256")
    try:
        import lightgbm  # noqa: PLC0415 - heavy, and not everywhere
    except (ImportError, OSError) as error:  # OSError: it needs the system's libgomp
        logger.warning("alerts carry no reasons, LightGBM (the extra `explain`) cannot be loaded: %s", error)
        return None
    try:
        loaded = lightgbm.Booster(model_str=booster.decode())
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
        raise TerminalError(f"{where}: its booster cannot be read: {error}") from error
    if loaded.num_feature() != len(manifest.inputs):
        raise TerminalError(f"{where}: its booster has {loaded.num_feature()} inputs, not {len(manifest.inputs)}")
    return Explainer(loaded, manifest.names)


def words(name: str, value: float | None) -> str:
    """What an input's value says to a person."""
    what, _, span = name.removeprefix("card_").rpartition("_")
    during = _SPANS.get(span)
    if name == "card_seconds_since_last":
        return (
            "no transaction of the card in the last 7 days" if value is None else f"{_duration(value)} after the last"
        )
    if name in ("card_first_at_merchant", "card_first_in_category"):
        place = "at this merchant" if name.endswith("merchant") else "in this category"
        return f"the card's first {place} in 7 days" if value else f"the card was {place} in the last 7 days"
    if value is None:
        return _MISSING.get(name) or (
            f"no transaction of the card in {during or 'the last 7 days'}"
            if name.startswith("card_")
            else f"no {name.replace('_', ' ')}"
        )
    if during is not None:
        return {
            "count": f"{value:,.0f} transactions in {during}",
            "sum": f"{value:,.2f} spent in {during}",
            "mean": f"{value:,.2f} a transaction in {during}",
            "max": f"up to {value:,.2f} in {during}",
        }[what]
    return _WORDS[name].format(value)


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} seconds"
