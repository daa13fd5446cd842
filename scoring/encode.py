"""From a scored batch to the JSON of its predictions.

A prediction repeats a lot: what is known of a customer, a merchant, an hour of the week is encoded once and
kept. Numbers are formatted by column, in one call each. What is left for a row is one join.
"""

import json
from collections.abc import Callable, Iterable
from itertools import repeat
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from scoring.cards import masked, token
from scoring.features import Batch, Features

_text = msgspec.json.encode


class _Fragments:
    """The part of the JSON that is the same for every transaction of a customer, a merchant or an hour; made once."""

    def __init__(self, make: Callable[[int], bytes]):
        self._fragments: list[bytes] = []
        self._missing = np.empty(0, bool)
        self._make = make

    def take(self, rows: NDArray[np.intp]) -> tuple[bytes, ...]:
        """The fragments of these rows."""
        new = int(rows.max()) + 1 - len(self._fragments)
        if new > 0:
            new = max(new, len(self._fragments))
            self._fragments += [b""] * new
            self._missing = np.append(self._missing, np.ones(new, bool))
        for row in set(rows[self._missing[rows]].tolist()):
            self._fragments[row] = self._make(row)
            self._missing[row] = False
        if len(rows) == 1:  # for which an itemgetter returns no tuple
            return (self._fragments[rows[0]],)
        return itemgetter(*rows.tolist())(self._fragments)


class Encoder:
    """Encodes predictions for one version of the features."""

    def __init__(self, features: Features, mask_card_numbers: bool, token_key: bytes):
        self._features = features
        self._hidden, self._token_key = mask_card_numbers, token_key
        self._customers = _Fragments(self._customer)
        self._merchants = _Fragments(self._merchant)
        self._dates = _Fragments(self._date)

    def encode(
        self,
        batch: Batch,
        probability: NDArray[np.float32],
        label: NDArray[np.int64],
        partitions: list[int],
        offsets: list[int],
        ends: Iterable[bytes],
    ) -> tuple[list[bytes], list[bytes]]:
        """Encode a batch.

        Args:
            batch: the transactions; at least one.
            probability: of fraud.
            label: the model's verdict.
            partitions: of each transaction's source.
            offsets: of each transaction's source.
            ends: of each transaction, the rest of the JSON; see `endings`.

        Returns:
            Keys (transaction numbers) and values, in the order of the batch.
        """
        partition = {p: b'%d,"source_offset":' % p for p in set(partitions)}
        count = len(batch)
        keys, texts = _texts(batch.number)
        # In C from end to end: a loop in Python takes twice as long.
        pieces = zip(
            repeat(b'{"transaction_number":"', count),
            texts,
            repeat(b'","transaction_date":"', count),
            map(str.encode, batch.date),
            map(_IS_FRAUD.__getitem__, batch.is_fraud),
            _numbers(batch.amount),
            self._merchants.take(batch.merchant),
            _numbers(batch.latitude),
            repeat(b',"merchant_lon":', count),
            _numbers(batch.longitude),
            self._customers.take(batch.customer),
            _numbers(np.round(batch.distance_km, 6)),
            self._dates.take(batch.date_code),
            _numbers(probability),
            map(_VERDICT.__getitem__, label.tolist()),
            map(partition.__getitem__, partitions),
            _numbers(np.array(offsets)),
            ends,
            strict=True,
        )
        return keys, list(map(b"".join, pieces))

    def _customer(self, row: int) -> bytes:
        record = self._features.customer.frame.row(row, named=True)
        card = record["card"]
        hidden = self._hidden
        fields = {
            "credit_card_number": masked(card) if hidden else int(card) if card.isdecimal() else card,
            "card_token": token(card, self._token_key),
            "card_last4": card[-4:],
        } | {name: record[name] for name in ("customer_name", "customer_city", "customer_age_group", "customer_gender")}
        fields |= {name: record[name] for name in ("customer_lat", "customer_lon")}
        return b"," + json.dumps(fields, separators=(",", ":")).encode()[1:-1] + b',"distance_from_home":'

    def _merchant(self, row: int) -> bytes:
        record = self._features.merchants.row(row, named=True)
        return b',"merchant":%b,"category":%b,"merchant_lat":' % (
            _text(record["merchant"]),
            _text(record["category"]),
        )

    def _date(self, row: int) -> bytes:
        codes = self._features.date_codes[row]
        assert codes is not None, "a date without codes was rejected before"  # noqa: S101
        weekday, month, hour = codes
        return (
            b',"transaction_weekday_code":%d,"transaction_hour_code":%d,"transaction_month_code":%d'
            b',"fraud_probability":' % (weekday, hour, month)
        )


_IS_FRAUD = {
    0: b'","is_fraud":0,"amount":',
    1: b'","is_fraud":1,"amount":',
    None: b'","is_fraud":null,"amount":',
}
_VERDICT = {
    0: b',"fraud_model_prediction":0,"source_partition":',
    1: b',"fraud_model_prediction":1,"source_partition":',
}


def versions_of(features: str, model: str, challenger: str | None = None) -> bytes:
    """The part of a prediction that says what made it."""
    beside = b',"challenger_version":%b' % _text(challenger) if challenger else b""
    return b',"model_version":%b,"features_version":%b%b,' % (_text(model), _text(features), beside)


def endings(
    count: int,
    versions: bytes | list[bytes],
    timing: bytes,
    columns: dict[str, NDArray[np.float32]],
    reasons: dict[int, list[dict[str, Any]]],
) -> Iterable[bytes]:
    """How predictions end.

    Args:
        count: of predictions.
        versions: as `versions_of` gives them, of all transactions together or of each.
        timing: the JSON of `inference_time_ns` and `transaction_processing_total_time`.
        columns: further numbers by name, one for each transaction; NaN becomes null.
        reasons: of those that have some, by position; with them, or with columns, `versions` is a list.
    """
    if isinstance(versions, bytes):
        return repeat(versions + timing + b"}", count)
    pieces: list[Iterable[bytes]] = [versions, repeat(timing, count)]
    for name, column in columns.items():
        pieces += repeat(b',"%b":' % name.encode(), count), _numbers(column)
    ends = list(map(b"".join, zip(*pieces, repeat(b"}", count), strict=True)))
    for position, told in reasons.items():
        ends[position] = b'%b,"reasons":%b}' % (ends[position][:-1], orjson.dumps(told))
    return ends


def _texts(texts: list[str]) -> tuple[list[bytes], list[bytes]]:
    """Of each text its bytes, and as they stand in JSON, between the quotation marks."""
    together = orjson.dumps(texts)
    if b"\\" not in together:
        # Nothing is escaped: both are the same, and a quotation mark begins or ends a text.
        same = together[2:-2].split(b'","')
        return same, same
    return list(map(str.encode, texts)), [_text(text)[1:-1] for text in texts]


def _numbers(column: NDArray[np.number]) -> list[bytes]:
    """Each number of a column in its shortest decimal form."""
    return orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
