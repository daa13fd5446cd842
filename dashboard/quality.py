"""How good the scores were, by what turned out to be true."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from dashboard.labels import FRAUD, Label
from dashboard.queries import BANDS, COARSE_BANDS, ROUNDING, at_or_above

# More days than that are drawn as weeks: a day has too few alerts for a share that says anything.
_DAYS_DRAWN = 21
# So many of the newest days are compared with those before, of which there must be as many at least.
_NEWEST_DAYS = 7
_MISDATED = 0.001

# Columns of counts by band of score: what `together` gives, and `from_labels` makes of labels.
SCHEMA = {
    "model_version": pl.String,
    "day": pl.String,
    "is_fraud": pl.Int64,
    "band": pl.Int64,
    "transactions": pl.Int64,
    "probability": pl.Float64,
}


@dataclass(frozen=True)
class Drift:
    """The scores of the newest days against those of the days before."""

    psi: float
    """Population stability index: the sum of (new - old) * ln(new / old) over the shares of the score bands."""
    since: str
    days_before: int
    bands: pl.DataFrame
    """`band`, `before` and `newest`: shares of the transactions, that sum to 1."""


def together(above: pl.DataFrame | None, below: pl.DataFrame | None) -> pl.DataFrame | None:
    """The counts of `queries.truth_above` and `Whole.unsuspected`; None without both."""
    if above is None or below is None:
        return None
    return pl.concat(
        [frame.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items()) for frame in (above, below)]
    )


def from_labels(labels: Iterable[Label]) -> pl.DataFrame:
    """The same counts from verdicts; those that carry no score, or no verdict yet, are left out."""
    return _counted((label, label.model_version, label.fraud_probability) for label in labels)


def challengers_from_labels(labels: Iterable[Label]) -> pl.DataFrame:
    """The same counts of the challengers that had scored beside the champion."""
    return _counted((label, label.challenger_version, label.challenger_probability) for label in labels)


def _counted(scored: Iterable[tuple[Label, str | None, float | None]]) -> pl.DataFrame:
    rows = [
        (version, (label.transaction_date or "")[:10], label.verdict == FRAUD, int(score * BANDS + ROUNDING), 1, score)
        for label, version, score in scored
        if label.decides and version is not None and score is not None
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row", strict=False)


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


def of_models(counts: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Transactions and alerts per `model_version`, and precision and recall where the truth is known."""
    alerts = pl.col("transactions").filter(pl.col("band") >= at_or_above(threshold)).sum()
    known = by(counts, threshold, "model_version").select("model_version", "precision", "recall")
    all_of = counts.group_by("model_version").agg(transactions=pl.col("transactions").sum(), alerts=alerts)
    return all_of.join(known, "model_version", how="left").sort("model_version")


def periods(counts: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    """With a column `period`: the day, or the first day of the week if there are many days. Returns which."""
    day = pl.col("day").str.to_date(strict=False)
    if counts["day"].n_unique() <= _DAYS_DRAWN:
        return "day", counts.with_columns(period=day)
    return "week", counts.with_columns(period=day.dt.truncate("1w"))


def drift(counts: pl.DataFrame) -> Drift | None:
    """The newest days against those before; None if there are too few."""
    dated = counts.with_columns(pl.col("day").str.to_date(strict=False)).drop_nulls("day")
    sizes = dated.group_by("day").agg(pl.col("transactions").sum()).sort("day")
    if sizes.is_empty():
        return None
    # A shop's clock may be years ahead: a thousandth of all may lie behind what is taken for the newest day.
    sizes = sizes.with_columns(share=pl.col("transactions").cum_sum() / pl.col("transactions").sum())
    newest = sizes.filter(pl.col("share") >= 1 - _MISDATED)["day"][0]
    assert isinstance(newest, date)  # noqa: S101 - tells the type checker
    days = sizes["day"]
    since = newest - timedelta(days=_NEWEST_DAYS - 1)
    before = int((days < since).sum())
    if before < _NEWEST_DAYS:
        return None
    is_new = pl.col("day").is_between(pl.lit(since.isoformat()), pl.lit(newest.isoformat()))
    is_old = pl.col("day") < since.isoformat()
    bands = (
        counts.group_by(_coarse())
        .agg(before=pl.col("transactions").filter(is_old).sum(), newest=pl.col("transactions").filter(is_new).sum())
        .sort("band")
    )
    # Half a transaction in an empty band: the index has no value for a share of zero.
    filled = {name: bands[name].cast(pl.Float64).clip(0.5) for name in ("before", "newest")}
    shares = {name: column / column.sum() for name, column in filled.items()}
    psi = sum((new - old) * math.log(new / old) for old, new in zip(shares["before"], shares["newest"], strict=True))
    return Drift(psi, since.isoformat(), before, bands.with_columns(**shares))


def calibration(counts: pl.DataFrame, least: int = 20) -> pl.DataFrame:
    """Mean score and share of fraud per band, for bands with at least so many transactions."""
    n = pl.col("transactions")
    return (
        counts.filter(pl.col("is_fraud").is_not_null())
        .group_by(_coarse())
        .agg(
            score=pl.col("probability").sum() / n.sum(),
            observed=n.filter(pl.col("is_fraud") == 1).sum() / n.sum(),
            transactions=n.sum(),
        )
        .filter(n >= least)
        .sort("band")
    )


def _coarse() -> pl.Expr:
    """The coarse band that a band lies in."""
    return (pl.col("band").clip(0, BANDS - 1) // (BANDS // COARSE_BANDS)).alias("band")
