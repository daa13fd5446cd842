"""docs/messages.md names every field of every message."""

import json
import re
from datetime import datetime

import msgspec
import pytest

from dashboard.labels import Label, decode
from infra.projection_sql import PREDICTION_COLUMNS
from infra.settings import ScoringSettings
from scoring import feature_files
from scoring.scorer import dead_letter
from scoring.transaction import Reason, Rejected, Transaction
from tests.conftest import PROJECT

SECTIONS = dict(re.findall(r"^## (\w+)(.*?)(?=^## |\Z)", (PROJECT / "docs" / "messages.md").read_text(), re.M | re.S))
_LETTER = json.loads(dead_letter(b"x", Rejected(Reason.EMPTY, ""), "Transactions", 0, 0, ScoringSettings()))


@pytest.mark.parametrize(
    ("topic", "fields"),
    [
        ("Transactions", Transaction.__struct_fields__),
        ("Predictions", (*PREDICTION_COLUMNS, "reasons")),
        ("DeadLetters", _LETTER),
        ("Labels", Label.__struct_fields__),
    ],
    ids=["Transactions", "Predictions", "DeadLetters", "Labels"],
)
def test_each_field_is_told_and_no_other(topic: str, fields: tuple[str, ...]):
    told = re.findall(r"^\| (`[^|]+`) \|", SECTIONS[topic], re.M)
    assert {name for row in told for name in re.findall(r"`(\w+)`", row)} == set(fields)


def test_the_example_is_a_transaction():
    (example,) = re.findall(r"```json\n(.*?)```", SECTIONS["Transactions"], re.S)
    msgspec.json.decode(example, type=Transaction)


def test_the_examples_of_labels_are_labels():
    (example,) = re.findall(r"```json\n(.*?)```", SECTIONS["Labels"], re.S)
    label = decode(example.encode())
    assert label is not None
    assert label.decides
    assert datetime.fromisoformat(label.at).tzinfo


def test_every_reason_is_told():
    assert all(f"`{reason}`" in SECTIONS["DeadLetters"] for reason in Reason)


def test_the_files_are_told_with_every_column_that_is_read():
    text = (PROJECT / "docs" / "files.md").read_text()
    told = {name for row in re.findall(r"^\| (`[^|]+`) \|", text, re.M) for name in re.findall(r"`([^`]+)`", row)}
    read = {*feature_files._CUSTOMER_COLUMNS, *feature_files._MERCHANT_COLUMNS, *feature_files.FILES}
    assert told == read - {feature_files.CUSTOMERS, feature_files.MERCHANTS}
