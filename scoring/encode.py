"""From a scored batch to the JSON of its predictions.

A prediction repeats a lot: what is known of a customer, a merchant, an hour of the week is encoded once and
kept. Numbers are formatted by column, in one call each. What is left for a row is one join.
"""

import json
from dataclasses import dataclass, field

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from scoring.cards import masked, token
from scoring.features import Batch, Features

_text = msgspec.json.encode


@dataclass
class Encoder:
    """Encodes predictions for one version of the features and one model."""

    features: Features
    model_version: str
    mask_card_numbers: bool
    token_key: bytes
    _customers: dict[int, bytes] = field(default_factory=dict)
    _merchants: dict[int, bytes] = field(default_factory=dict)
    _dates: dict[int, bytes] = field(default_factory=dict)

    def encode(
        self,
        batch: Batch,
        probability: NDArray[np.float32],
        label: NDArray[np.int64],
        sources: list[bytes],
        timing: bytes,
    ) -> tuple[list[bytes], list[bytes]]:
        """Encode a batch.

        Args:
            batch: the transactions.
            probability: of fraud.
            label: the model's verdict.
            sources: `partition,"source_offset":offset` of each transaction.
            timing: the JSON of `inference_time_ns` and `transaction_processing_total_time`.

        Returns:
            Keys (transaction numbers) and values, in the order of the batch.
        """
        customers = [self._customers.get(i) or self._customer(i) for i in batch.customer.tolist()]
        merchants = [self._merchants.get(i) or self._merchant(i) for i in batch.merchant.tolist()]
        dates = [self._dates.get(i) or self._date(i) for i in batch.date_code.tolist()]
        tail = b',"model_version":%b,"features_version":%b,%b}' % (
            _text(self.model_version),
            _text(self.features.version),
            timing,
        )
        values = [
            b"".join(
                (
                    b'{"transaction_number":',
                    _text(row.trans_num),
                    b',"transaction_date":"',
                    row.transaction_date.encode(),
                    _IS_FRAUD[row.is_fraud],
                    amount,
                    merchant,
                    latitude,
                    b',"merchant_lon":',
                    longitude,
                    customer,
                    distance,
                    date,
                    score,
                    _VERDICT[verdict],
                    source,
                    tail,
                )
            )
            for row, amount, merchant, latitude, longitude, customer, distance, date, score, verdict, source in zip(
                batch.rows,
                _numbers(batch.amount),
                merchants,
                _numbers(batch.latitude),
                _numbers(batch.longitude),
                customers,
                _numbers(np.round(batch.distance_km, 6)),
                dates,
                _numbers(probability),
                label.tolist(),
                sources,
                strict=True,
            )
        ]
        return [row.trans_num.encode() for row in batch.rows], values

    def _customer(self, row: int) -> bytes:
        record = self.features.customers.row(row, named=True)
        card = record["card"]
        hidden = self.mask_card_numbers
        fields = {
            "credit_card_number": masked(card) if hidden else int(card) if card.isdecimal() else card,
            "card_token": token(card, self.token_key),
            "card_last4": card[-4:],
        } | {name: record[name] for name in ("customer_name", "customer_city", "customer_age_group", "customer_gender")}
        fields |= {name: record[name] for name in ("customer_lat", "customer_lon")}
        fragment = b"," + json.dumps(fields, separators=(",", ":")).encode()[1:-1] + b',"distance_from_home":'
        self._customers[row] = fragment
        return fragment

    def _merchant(self, row: int) -> bytes:
        record = self.features.merchants.row(row, named=True)
        fragment = b',"merchant":%b,"category":%b,"merchant_lat":' % (
            _text(record["merchant"]),
            _text(record["category"]),
        )
        self._merchants[row] = fragment
        return fragment

    def _date(self, row: int) -> bytes:
        codes = self.features.date_codes[row]
        assert codes is not None, "a date without codes was rejected before"  # noqa: S101
        weekday, month, hour = codes
        fragment = (
            b',"transaction_weekday_code":%d,"transaction_hour_code":%d,"transaction_month_code":%d'
            b',"fraud_probability":' % (weekday, hour, month)
        )
        self._dates[row] = fragment
        return fragment


_IS_FRAUD = {
    0: b'","is_fraud":0,"amount":',
    1: b'","is_fraud":1,"amount":',
    None: b'","is_fraud":null,"amount":',
}
_VERDICT = {
    0: b',"fraud_model_prediction":0,"source_partition":',
    1: b',"fraud_model_prediction":1,"source_partition":',
}


def _numbers(column: NDArray[np.floating]) -> list[bytes]:
    """Each number of a column in its shortest decimal form."""
    return orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
