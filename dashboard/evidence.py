"""What speaks for and against a case, in words."""

import statistics
from typing import Any

import polars as pl

from dashboard import show

FEATURES = {
    "transaction_number": "Transaction",
    "transaction_date": "When, by the shop's clock",
    "is_fraud": "Known truth, if any (1: fraud)",
    "amount": "Amount",
    "distance_from_home": "Distance from home, km",
    "transaction_weekday_code": "Weekday code (0: Monday)",
    "transaction_hour_code": "Hour code",
    "transaction_month_code": "Month code",
    "fraud_probability": "Score",
    "fraud_model_prediction": "The model's verdict (1: fraud)",
    "source_partition": "Partition of the transaction in Kafka",
    "source_offset": "Offset of the transaction in Kafka",
    "model_version": "Model",
    "features_version": "Features",
    "inference_time_ns": "Inference, ns a row",
    "transaction_processing_total_time": "Time in the scorer, ns",
    "card_token": "Token of the card",
    "card_last4": "Last four digits of the card",
}
"""Fields of a prediction and what people call them; other fields go by their own name."""

_ENOUGH = 5
"""Transactions of a card from which on one can speak of what is usual."""


def reasons(record: dict[str, Any]) -> list[str]:
    """The model's own reasons, if the prediction carries them: texts, or objects with a `text`."""
    told = record.get("reasons") or []
    if not isinstance(told, list):
        return [str(told)]
    return [str(item.get("text", item)) if isinstance(item, dict) else str(item) for item in told]


def stands_out(record: dict[str, Any], history: pl.DataFrame | None, currency: str) -> list[str]:
    """How a transaction differs from the others of its card."""
    if history is None:
        return ["The card's history is not here yet."]
    others = history.filter(pl.col("transaction_number") != record["transaction_number"])
    if others.height < _ENOUGH:
        return [f"The card has only {others.height} other transactions here: too few to say what is usual."]
    lines = []
    amount, usual = record.get("amount") or 0.0, statistics.median(others["amount"])
    if usual > 0 and amount > 3 * usual:
        lines.append(
            f"{show.money(amount, currency)} is {amount / usual:,.1f} times what this card usually spends, "
            f"{show.money(usual, currency)}"
        )
    distance = record.get("distance_from_home") or 0.0
    furthest = max(d or 0.0 for d in others["distance_from_home"])
    if distance > furthest:
        lines.append(
            f"{show.kilometres(distance)} from home, further than any of the others (up to {show.kilometres(furthest)})"
        )
    if record.get("merchant") not in set(others["merchant"]):
        lines.append("the first purchase at this merchant")
    if record.get("category") not in set(others["category"]):
        lines.append(f"the first purchase in the category {record.get('category')}")
    hour = str(record.get("transaction_date") or "")[11:13]
    hours = [str(date)[11:13] for date in others["transaction_date"]]
    if hour and hours.count(hour) == 0:
        lines.append(f"no other purchase between {hour}:00 and {hour}:59")
    day = str(record.get("transaction_date") or "")[:10]
    same_day = sum(str(date).startswith(day) for date in others["transaction_date"])
    if same_day >= 3:
        lines.append(f"{same_day} more purchases on the same day")
    return lines
