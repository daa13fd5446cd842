"""The questions that the pages ask, as SQL that counts in the cluster; every value is bound to a `?`.

Scores are counted in bands of 0.05, so that a threshold that somebody moves needs no new question. Nearly all
transactions have a score below the lowest threshold, and the map has an index on the score: what is suspected is
counted from a few percent of the rows, in a fraction of a second. What it is a share of takes a look at every row:
those questions are `heavy`, change little, and are asked seldom.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

from dashboard.answers import Question
from infra.hazelcast import PREDICTION_VIEW

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

CUBE = (
    "category", "customer_age_group", "customer_gender", "transaction_weekday_code", "transaction_hour_code",
)  # fmt: skip
"""Dimensions with so few values that all their combinations are asked for at once: some ten thousand."""

LISTED = ("merchant", "customer_city")
"""Dimensions with some hundred or thousand values."""

LOWEST = 0.05
"""The lowest threshold that people can choose, and the upper edge of the lowest band."""

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
_CLOCK = ("transaction_weekday_code", "transaction_hour_code")
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


def everything(filters: Filters) -> Question:
    """How many transactions there are, and their amount: one row."""
    where, parameters = filters.where()
    return Question(f'SELECT {_COUNTS} FROM "{PREDICTION_VIEW}" {where}', parameters, heavy=True)


def cube(filters: Filters) -> Question:
    """All transactions by the dimensions that have few values: enough for any filter on those, without asking again.

    Of the filters only those on other dimensions are in the question; `tally.within` applies the rest.
    """
    columns = ", ".join(CUBE)
    where, parameters = replace(filters, **dict.fromkeys(CUBE, ())).where()
    return Question(
        f'SELECT {columns}, {_COUNTS} FROM "{PREDICTION_VIEW}" {where} GROUP BY {columns}', parameters, heavy=True
    )


def population(dimension: str, filters: Filters) -> Question:
    """All transactions per value of a dimension."""
    column = _dimension(dimension)
    where, parameters = filters.where()
    return Question(
        f'SELECT {column}, {_COUNTS} FROM "{PREDICTION_VIEW}" {where} GROUP BY {column}', parameters, heavy=True
    )


def amounts(filters: Filters) -> Question:
    """All transactions per amount band."""
    where, parameters = filters.where()
    return Question(
        f'SELECT {_AMOUNT_BAND} AS amount_band, {_COUNTS} FROM "{PREDICTION_VIEW}" {where} GROUP BY {_AMOUNT_BAND}',
        parameters,
        heavy=True,
    )


def suspected(filters: Filters, *dimensions: str) -> Question:
    """Per value of the dimensions and score band, from the lowest threshold on; `day` and `amount_band` are two too."""
    known = {name: name for name in (*DIMENSIONS, *_CLOCK)} | {"day": _DAY, "amount_band": _AMOUNT_BAND}
    keys = [known[name] for name in dimensions]
    named = [f'{known[name]} AS "{name}", ' for name in dimensions]
    where, parameters = filters.where("fraud_probability >= ?")
    return Question(
        f'SELECT {"".join(named)}{_BAND} AS band, {_COUNTS} FROM "{PREDICTION_VIEW}" {where} '
        f"GROUP BY {', '.join([*keys, _BAND])}",
        (LOWEST, *parameters),
    )


def suspects(threshold: float, filters: Filters, limit: int = 300) -> Question:
    """The newest transactions at or above the threshold."""
    where, parameters = filters.where("fraud_probability >= ?")
    return Question(
        f'SELECT {", ".join(CASE_COLUMNS)} FROM "{PREDICTION_VIEW}" {where} '
        f"ORDER BY transaction_date DESC LIMIT {int(limit)}",
        (threshold, *parameters),
    )


def queue(threshold: float, limit: int) -> Question:
    """Transactions at or above the threshold with the largest amounts at risk: amount times score."""
    return Question(
        f'SELECT {", ".join(CASE_COLUMNS)}, amount * fraud_probability AS at_risk FROM "{PREDICTION_VIEW}" '
        f"WHERE fraud_probability >= ? ORDER BY at_risk DESC LIMIT {int(limit)}",
        (threshold,),
    )


def suspicion(threshold: float) -> Question:
    """How many transactions are at or above the threshold, and their amount at risk: one row."""
    return Question(
        f'SELECT COUNT(*) AS transactions, SUM(amount * fraud_probability) AS at_risk FROM "{PREDICTION_VIEW}" '
        "WHERE fraud_probability >= ?",
        (threshold,),
    )


def card_history(card_token: str, limit: int = 60) -> Question:
    """The newest transactions of a card."""
    return Question(
        f'SELECT {", ".join(CASE_COLUMNS)} FROM "{PREDICTION_VIEW}" WHERE card_token = ? '
        f"ORDER BY transaction_date DESC LIMIT {int(limit)}",
        (card_token,),
    )


def truth_above() -> Question:
    """Per model, day, known truth and score band, from the lowest threshold on."""
    columns = f"model_version, {_DAY}, is_fraud, {_BAND}"
    return Question(
        f'SELECT model_version, {_DAY} AS "day", is_fraud, {_BAND} AS band, {_COUNTS}, '
        f'SUM(fraud_probability) AS probability FROM "{PREDICTION_VIEW}" WHERE fraud_probability >= ? '
        f"GROUP BY {columns}",
        (LOWEST,),
    )


def truth_below() -> Question:
    """Per model, day and known truth, below the lowest threshold: they are all in one band."""
    return Question(
        f'SELECT model_version, {_DAY} AS "day", is_fraud, 0 AS band, {_COUNTS}, '
        f'SUM(fraud_probability) AS probability FROM "{PREDICTION_VIEW}" WHERE fraud_probability < {LOWEST} '
        f"GROUP BY model_version, {_DAY}, is_fraud",
        heavy=True,
    )


def beside() -> Question:
    """Of challengers that score beside the champion: per challenger, day, known truth and band of its own score."""
    band = f"CAST(FLOOR(challenger_probability * {BANDS}) AS INTEGER)"
    return Question(
        f'SELECT challenger_version AS model_version, {_DAY} AS "day", is_fraud, {band} AS band, {_COUNTS}, '
        f'SUM(challenger_probability) AS probability FROM "{PREDICTION_VIEW}" '
        f"WHERE challenger_probability IS NOT NULL GROUP BY challenger_version, {_DAY}, is_fraud, {band}",
        heavy=True,
    )


def defaults() -> list[Question]:
    """The costly questions that every newcomer asks."""
    nothing = Filters()
    return [
        everything(nothing), cube(nothing), amounts(nothing), truth_below(), beside(),
        *(population(dimension, nothing) for dimension in LISTED),
    ]  # fmt: skip


def at_or_above(threshold: float) -> int:
    """The lowest band that is at or above a threshold."""
    return round(threshold * BANDS)


def _dimension(name: str) -> str:
    if name not in DIMENSIONS:
        raise ValueError(f"no such dimension: {name}")
    return name
