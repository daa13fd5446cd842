"""The questions that the pages ask Hazelcast, as SQL that counts in the cluster; every value is bound to a `?`.

They are about what is suspected: the projection keeps those predictions in a map of their own, a few percent of all,
so each question takes a fraction of a second. What that is a share of is counted by `dashboard.whole`. Scores are
counted in bands of 0.01, so that a threshold that somebody moves needs no new question.
"""

from dataclasses import dataclass, fields
from typing import Any

from dashboard.answers import Question
from infra.hazelcast import SUSPECTS
from infra.projection_sql import LOWEST_SUSPICION as LOWEST
from infra.projection_sql import SUSPECT_RECORDS

BANDS = 100
"""Score bands: band b holds the scores from b / 100 on; a score of exactly 1 has band 100."""

ROUNDING = 1e-9
"""Added to a score in bands before it is cut, for 0.29 * 100 is less than 29. The next float32 is farther away."""

COARSE_BANDS = 20
"""Where bands of 0.01 have too few transactions to be compared or drawn each for itself."""

Since = tuple[tuple[int, int], ...]
"""The offset in each source partition that counting begins at; those not named are counted from their beginning."""

AMOUNT_EDGES = (0, 10, 25, 50, 100, 250, 500, 1_000, 2_500)
"""Lower edges of the amount bands."""

DIMENSIONS = {
    "category": "Category",
    "merchant": "Merchant",
    "customer_city": "City",
    "customer_age_group": "Age group",
    "customer_gender": "Gender",
    "customer": "Customer",
}
"""What fraud is broken down by, and what people call it; hour and weekday have a picture of their own."""

FIRST_DIMENSION = "category"
"""What it is broken down by until somebody chooses."""

CLOCK = ("transaction_weekday_code", "transaction_hour_code")
"""What the week is drawn by."""

MAP_ROWS = 300
"""The newest suspected transactions, those that a map shows."""

CASE_COLUMNS = (
    "transaction_number", "transaction_date", "amount", "merchant", "category", "customer_name", "customer_city",
    "card_last4", "card_token", "merchant_lat", "merchant_lon", "customer_lat", "customer_lon",
    "distance_from_home", "fraud_probability",
)  # fmt: skip

_BAND = f"CAST(FLOOR(fraud_probability * {BANDS} + {ROUNDING}) AS INTEGER)"
_AMOUNT_BAND = (
    "CASE " + " ".join(f"WHEN amount >= {edge} THEN {edge}" for edge in reversed(AMOUNT_EDGES)) + " ELSE 0 END"
)
_DAY = "SUBSTRING(transaction_date, 1, 10)"
BEFORE_CARD = " •••• "
"""Between a customer's name and the end of their card: many have the same name."""
_EXPRESSIONS = {"customer": f"customer_name || '{BEFORE_CARD}' || card_last4", "day": _DAY, "amount_band": _AMOUNT_BAND}
"""Of what is no column."""
_COUNTS = "COUNT(*) AS transactions, SUM(amount) AS total"


@dataclass(frozen=True)
class Filters:
    """What is looked at; empty means everything. The names are columns of the prediction, but for `customer`."""

    category: tuple[str, ...] = ()
    merchant: tuple[str, ...] = ()
    customer_city: tuple[str, ...] = ()
    customer_age_group: tuple[str, ...] = ()
    customer_gender: tuple[str, ...] = ()
    customer: tuple[str, ...] = ()
    transaction_weekday_code: tuple[int, ...] = ()
    transaction_hour_code: tuple[int, ...] = ()

    def where(self, threshold: float, since: Since) -> tuple[str, tuple[Any, ...], tuple[Any, ...]]:
        """A WHERE clause for what is suspected from a score on, its parameters, and those that `since` adds."""
        parts, parameters, moving = ["fraud_probability >= ?"], [threshold], []
        for column in fields(self):
            values = getattr(self, column.name)
            if values:
                name = _EXPRESSIONS.get(column.name, column.name)
                parts.append(f"{name} IN ({', '.join('?' * len(values))})")
                parameters += values
        for partition, offset in since:
            parts.append("(source_partition <> ? OR source_offset >= ?)")
            moving += [partition, offset]
        return f"WHERE {' AND '.join(parts)}", tuple(parameters), tuple(moving)


def suspected(filters: Filters, *dimensions: str, since: Since = ()) -> Question:
    """Per value of the dimensions and score band, from the lowest threshold on; `day` and `amount_band` are two too."""
    known = {name: name for name in (*DIMENSIONS, *CLOCK)} | _EXPRESSIONS
    keys = [known[name] for name in dimensions]
    named = [f'{known[name]} AS "{name}", ' for name in dimensions]
    where, *parameters = filters.where(LOWEST, since)
    return Question(
        f'SELECT {"".join(named)}{_BAND} AS band, {_COUNTS} FROM "{SUSPECTS}" {where} '
        f"GROUP BY {', '.join([*keys, _BAND])}",
        *parameters,
    )


def explored(threshold: float, filters: Filters, dimension: str, since: Since) -> list[Question]:
    """All that a page with these choices asks, in the order in which it is drawn."""
    counted = (("amount_band",), (dimension,), CLOCK, ("day",))
    counts = [suspected(filters, *keys, since=since) for keys in counted]
    return [*counts, suspects(threshold, filters, since)]


def suspects(threshold: float, filters: Filters, since: Since) -> Question:
    """The newest transactions at or above the threshold."""
    where, *parameters = filters.where(threshold, since)
    return Question(
        f'SELECT {", ".join(CASE_COLUMNS)} FROM "{SUSPECTS}" {where} ORDER BY transaction_date DESC LIMIT {MAP_ROWS}',
        *parameters,
    )


def queue(threshold: float, limit: int) -> Question:
    """Transactions at or above the threshold with the largest amounts at risk: amount times score."""
    return Question(
        f'SELECT {", ".join(CASE_COLUMNS)}, amount * fraud_probability AS at_risk FROM "{SUSPECTS}" '
        f"WHERE fraud_probability >= ? ORDER BY at_risk DESC LIMIT {int(limit)}",
        (threshold,),
    )


def record(number: str) -> Question:
    """A suspect's whole prediction, as JSON: one row, or none."""
    return Question(f'SELECT record FROM "{SUSPECT_RECORDS}" WHERE __key = ?', (number,))


def suspicion(threshold: float) -> Question:
    """How many transactions are at or above the threshold, and their amount at risk: one row."""
    return Question(
        f'SELECT COUNT(*) AS transactions, SUM(amount * fraud_probability) AS at_risk FROM "{SUSPECTS}" '
        "WHERE fraud_probability >= ?",
        (threshold,),
    )


def truth_above(since: Since = ()) -> Question:
    """Per model, day, known truth and score band, from the lowest threshold on."""
    columns = f"model_version, {_DAY}, is_fraud, {_BAND}"
    where, *parameters = Filters().where(LOWEST, since)
    return Question(
        f'SELECT model_version, {_DAY} AS "day", is_fraud, {_BAND} AS band, {_COUNTS}, '
        f'SUM(fraud_probability) AS probability FROM "{SUSPECTS}" {where} '
        f"GROUP BY {columns}",
        *parameters,
    )


def at_or_above(threshold: float) -> int:
    """The lowest band that is at or above a threshold."""
    return round(threshold * BANDS)
