"""Labels that other people write: what training learns from, the dashboard knows of too."""

import json

import pytest

from dashboard.labels import FRAUD, decode


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"at": None},
        {"at": "2026-01-02T03:04:05+00:00", "source": None, "by": None},
        {"fraud_probability": "0.5"},
        {"is_fraud": True, "link_ends": 1.5},
    ],
)
def test_a_number_and_a_verdict_are_enough(more: dict):
    label = decode(json.dumps({"transaction_number": "t1", "verdict": FRAUD} | more).encode())
    assert label is not None
    assert (label.transaction_number, label.verdict, label.at) == ("t1", FRAUD, more.get("at") or "")
    assert label.decides


@pytest.mark.parametrize("value", [None, b"", b"no label", b"\xff", b'{"verdict": "fraud"}'])
def test_what_is_none_is_none(value: bytes | None):
    assert decode(value) is None
