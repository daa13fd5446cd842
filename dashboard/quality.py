"""How good the scores were, by what turned out to be true."""

from collections.abc import Iterable
from typing import Any

import polars as pl

from dashboard.queries import BANDS, at_or_above

# Columns of counts by band of score: what `queries.truth` gives, and `from_labels` makes of labels.
SCHEMA = {
    "model_version": pl.String,
    "day": pl.String,
    "is_fraud": pl.Int64,
    "band": pl.Int64,
    "transactions": pl.Int64,
    "probability": pl.Float64,
}


def from_labels(labels: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """The same counts from verdicts; those that carry no score, or no verdict yet, are left out."""
    rows = [
        {
            "model_version": str(label.get("model_version")),
            "day": str(label.get("transaction_date"))[:10],
            "is_fraud": int(label["verdict"] == "fraud"),
            "band": int(float(label["fraud_probability"]) * BANDS),
            "transactions": 1,
            "probability": float(label["fraud_probability"]),
        }
        for label in labels
        if label.get("verdict") in {"fraud", "genuine"} and label.get("fraud_probability") is not None
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def by(counts: pl.DataFrame, threshold: float, key: str) -> pl.DataFrame:
    """Alerts, fraud, what was found, precision and recall, per value of `key`, in its order.

    A ratio of nothing is null: a day without an alert has no precision.
    """
    alert, fraud, n = pl.col("band") >= at_or_above(threshold), pl.col("is_fraud") == 1, pl.col("transactions")
    return (
        counts.filter(pl.col("is_fraud").is_not_null())
        .group_by(key)
        .agg(
            transactions=n.sum(),
            fraud=n.filter(fraud).sum(),
            alerts=n.filter(alert).sum(),
            found=n.filter(alert & fraud).sum(),
        )
        .with_columns(
            precision=pl.when(pl.col("alerts") > 0).then(pl.col("found") / pl.col("alerts")),
            recall=pl.when(pl.col("fraud") > 0).then(pl.col("found") / pl.col("fraud")),
        )
        .sort(key)
    )


def calibration(counts: pl.DataFrame, least: int = 20) -> pl.DataFrame:
    """Mean score and share of fraud per band, for bands with at least so many transactions."""
    n = pl.col("transactions")
    return (
        counts.filter(pl.col("is_fraud").is_not_null())
        .group_by(pl.col("band").clip(0, BANDS - 1))
        .agg(
            score=pl.col("probability").sum() / n.sum(),
            observed=n.filter(pl.col("is_fraud") == 1).sum() / n.sum(),
            transactions=n.sum(),
        )
        .filter(n >= least)
        .sort("band")
    )
