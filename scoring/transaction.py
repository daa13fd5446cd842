"""A transaction as it stands in Kafka, and the reasons for which one cannot be scored."""

from enum import StrEnum

import msgspec


class Transaction(msgspec.Struct, gc=False):
    """One JSON value of the Transactions topic: the columns of the transactions CSV.

    `is_fraud` is known of simulated and of historical transactions only. Unknown fields are ignored.
    """

    cc_num: int | str
    trans_num: str
    amt: float
    merchant: str
    transaction_date: str
    merch_lat: float
    merch_long: float
    is_fraud: int | None = None


class Reason(StrEnum):
    """Why a transaction is a dead letter."""

    EMPTY = "empty"
    MALFORMED = "malformed"
    INVALID_VALUE = "invalid value"
    UNKNOWN_CUSTOMER = "unknown customer"
    UNKNOWN_MERCHANT = "unknown merchant"
    UNKNOWN_CODE = "unknown code"
    NO_ANSWER = "no answer"
    """The model gave none that is one. The transaction is in its card's history all the same."""


class Rejected(msgspec.Struct, frozen=True):
    """The reason and, for people, the detail. Never holds a card number."""

    reason: Reason
    detail: str
