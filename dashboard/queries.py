"""The questions that the pages ask, as SQL that counts in the cluster; every value is bound to a `?`.

Scores are counted in bands of 0.05, so that a threshold that somebody moves needs no new question.
"""

from dataclasses import dataclass, fields
from typing import Any

from dashboard.answers import Question
from infra.hazelcast import PREDICTIONS

BANDS = 20
"""Score bands: band b holds the scores from b / 20 on; a score of exactly 1 has band 20."""

AMOUNT_EDGES = (0, 10, 25, 50, 100, 250, 500, 1_000, 2_500)
"""Lower edges of the amount bands."""

DIMENSIONS = {
    "category": "Category",
    "merchant": "Merchant",
    "customer_city": "City",
    "customer_age_group": "Age group",
    "customer_gender": "Gender",
    "customer_name": "Customer",
}
"""Columns that fraud is broken down by, and what people call them; hour and weekday have a picture of their own."""

CASE_COLUMNS = (
    "transaction_number", "transaction_date", "amount", "merchant", "category", "customer_name", "customer_city",
    "card_last4", "card_token", "merchant_lat", "merchant_lon", "customer_lat", "customer_lon",
    "distance_from_home", "fraud_probability",
)  # fmt: skip

_BAND = f"CAST(FLOOR(fraud_probability * {BANDS}) AS INTEGER)"
_AMOUNT_BAND = (
    "CASE " + " ".join(f"WHEN amount >= {edge} THEN {edge}" for edge in reversed(AMOUNT_EDGES)) + " ELSE 0 END"
)
_DAY = "SUBSTRING(transaction_date, 1, 10)"
_COUNTS = "COUNT(*) AS transactions, SUM(amount) AS total"


@dataclass(frozen=True)
class Filters:
    """What is looked at; empty means everything. The names are columns of the prediction."""

    category: tuple[str, ...] = ()
    merchant: tuple[str, ...] = ()
    customer_city: tuple[str, ...] = ()
    customer_age_group: tuple[str, ...] = ()
    customer_gender: tuple[str, ...] = ()
    customer_name: tuple[str, ...] = ()
    transaction_weekday_code: tuple[int, ...] = ()
    transaction_hour_code: tuple[int, ...] = ()

    def where(self, *conditions: str) -> tuple[str, tuple[Any, ...]]:
        """A WHERE clause, or nothing, and its parameters; `conditions` come first."""
        parts, parameters = list(conditions), []
        for column in fields(self):
            values = getattr(self, column.name)
            if values:
                parts.append(f"{column.name} IN ({', '.join('?' * len(values))})")
                parameters += values
        return (f"WHERE {' AND '.join(parts)}" if parts else ""), tuple(parameters)


def totals() -> Question:
    """Transactions and amounts per score band: 21 rows."""
    return Question(f'SELECT {_BAND} AS band, {_COUNTS} FROM "{PREDICTIONS}" GROUP BY {_BAND}')


def profile(filters: Filters) -> Question:
    """Per day, amount band and score band."""
    where, parameters = filters.where()
    return Question(
        f'SELECT {_DAY} AS "day", {_AMOUNT_BAND} AS amount_band, {_BAND} AS band, {_COUNTS} '
        f'FROM "{PREDICTIONS}" {where} GROUP BY {_DAY}, {_AMOUNT_BAND}, {_BAND}',
        parameters,
    )


def breakdown(dimension: str, filters: Filters) -> Question:
    """Per value of a dimension and score band.

    Customers are too many to count them all: of those, only the suspicious transactions are.
    """
    if dimension not in DIMENSIONS:
        raise ValueError(f"no such dimension: {dimension}")
    few = ("fraud_probability >= 0.05",) if dimension == "customer_name" else ()
    where, parameters = filters.where(*few)
    return Question(
        f'SELECT {dimension} AS "name", {_BAND} AS band, {_COUNTS} FROM "{PREDICTIONS}" {where} '
        f"GROUP BY {dimension}, {_BAND}",
        parameters,
    )


def week(filters: Filters) -> Question:
    """Per weekday, hour and score band."""
    where, parameters = filters.where()
    columns = f"transaction_weekday_code, transaction_hour_code, {_BAND}"
    return Question(
        f'SELECT transaction_weekday_code AS "weekday", transaction_hour_code AS "hour", {_BAND} AS band, {_COUNTS} '
        f'FROM "{PREDICTIONS}" {where} GROUP BY {columns}',
        parameters,
    )


def suspects(threshold: float, filters: Filters, limit: int = 300, order: str = "transaction_date") -> Question:
    """Transactions at or above the threshold: the newest, or those with the largest amounts."""
    if order not in {"transaction_date", "amount"}:
        raise ValueError(f"no such order: {order}")
    where, parameters = filters.where("fraud_probability >= ?")
    return Question(
        f'SELECT {", ".join(CASE_COLUMNS)} FROM "{PREDICTIONS}" {where} ORDER BY {order} DESC LIMIT {int(limit)}',
        (threshold, *parameters),
    )


def card_history(card_token: str, limit: int = 60) -> Question:
    """The newest transactions of a card."""
    return Question(
        f'SELECT {", ".join(CASE_COLUMNS)} FROM "{PREDICTIONS}" WHERE card_token = ? '
        f"ORDER BY transaction_date DESC LIMIT {int(limit)}",
        (card_token,),
    )


def truth() -> Question:
    """Per model, day, known truth and score band, where the truth came with the transactions."""
    columns = f"model_version, {_DAY}, is_fraud, {_BAND}"
    return Question(
        f'SELECT model_version, {_DAY} AS "day", is_fraud, {_BAND} AS band, {_COUNTS}, '
        f'SUM(fraud_probability) AS probability FROM "{PREDICTIONS}" GROUP BY {columns}'
    )


def at_or_above(threshold: float) -> int:
    """The lowest band that is at or above a threshold."""
    return round(threshold * BANDS)
