"""What the Model page says of days and models."""

from datetime import date, timedelta

import polars as pl
import pytest

from dashboard.quality import SCHEMA, drift, of_models


def _counts(rows: list[tuple]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _days(count: int) -> list[tuple]:
    days = [(date(2026, 1, 1) + timedelta(days=n)).isoformat() for n in range(count)]
    return [("m", day, None, band, 1_000 // (1 + band), 0.0) for day in days for band in (0, 3)]


def test_one_date_in_years_is_no_other_population():
    calm, misdated = drift(_counts(_days(30))), drift(_counts([*_days(30), ("m", "2032-01-01", None, 9, 1, 0.9)]))
    assert calm is not None
    assert misdated is not None
    assert (misdated.since, misdated.days_before) == (calm.since, calm.days_before)
    assert misdated.psi == pytest.approx(calm.psi, abs=0.01) == 0
    for shares in (misdated.bands["before"], misdated.bands["newest"]):
        assert shares.sum() == pytest.approx(1)


def test_models_are_told_apart_without_a_known_truth():
    rows = [
        ("a", "2026-01-01", None, 90, 4, 3.6),
        ("b", "2026-01-01", 1, 90, 2, 1.8),
        ("b", "2026-01-01", 0, 0, 5, 0.0),
    ]
    found = of_models(_counts(rows), 0.5).to_dicts()
    assert [(row["model_version"], row["transactions"]) for row in found] == [("a", 4), ("b", 7)]
    assert (found[0]["precision"], found[1]["precision"], found[1]["recall"]) == (None, 1.0, 1.0)
