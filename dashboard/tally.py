"""Sums over score bands: what is suspected at a threshold, without a new question."""

import polars as pl

from dashboard.queries import at_or_above

Sums = tuple[int | None, float | None]
"""Number of transactions and their amount; None where nothing is known."""


def total(counts: pl.DataFrame | None) -> Sums:
    """Of all rows."""
    if counts is None:
        return None, None
    return int(counts["transactions"].sum()), float(counts["total"].sum())


def above(bands: pl.DataFrame | None, threshold: float) -> Sums:
    """Of the score bands at or above the threshold."""
    return total(None if bands is None else bands.filter(pl.col("band") >= at_or_above(threshold)))


def by(bands: pl.DataFrame, threshold: float, *keys: str, of: pl.DataFrame | None = None) -> pl.DataFrame:
    """Per key: `suspected` and `suspected_amount`, and of all `transactions` and `amount`.

    Args:
        bands: suspected transactions per key and score band.
        threshold: from which score on.
        keys: columns of both frames.
        of: all transactions per key, if they are known; without it their columns are null.
    """
    rows = (
        bands.filter(pl.col("band") >= at_or_above(threshold))
        .group_by(keys)
        .agg(suspected=pl.col("transactions").sum(), suspected_amount=pl.col("total").sum())
    )
    if of is None:
        return rows.with_columns(transactions=pl.lit(None, pl.Int64), amount=pl.lit(None, pl.Float64))
    every = of.group_by(keys).agg(transactions=pl.col("transactions").sum(), amount=pl.col("total").sum())
    return every.join(rows, on=list(keys), how="full", coalesce=True).with_columns(
        pl.col("suspected").fill_null(0), pl.col("suspected_amount").fill_null(0.0)
    )
