"""Sums over score bands: what is suspected at a threshold, without a new question."""

import polars as pl

from dashboard.queries import at_or_above

Sums = tuple[int | None, float | None]
"""Number of transactions and their amount; None where nothing is known."""


def sums(bands: pl.DataFrame | None, threshold: float) -> tuple[Sums, Sums]:
    """Of all, and of those at or above the threshold."""
    if bands is None:
        return (None, None), (None, None)
    suspected = bands.filter(pl.col("band") >= at_or_above(threshold))
    return _sums(bands), _sums(suspected)


def _sums(bands: pl.DataFrame) -> Sums:
    return int(bands["transactions"].sum()), float(bands["total"].sum())


def by(bands: pl.DataFrame, threshold: float, *keys: str) -> pl.DataFrame:
    """Per key: `transactions`, `amount`, `suspected` and `suspected_amount`."""
    suspect = pl.col("band") >= at_or_above(threshold)
    return bands.group_by(keys).agg(
        pl.col("transactions").sum(),
        amount=pl.col("total").sum(),
        suspected=pl.col("transactions").filter(suspect).sum(),
        suspected_amount=pl.col("total").filter(suspect).sum(),
    )
