"""What people say about transactions: a record of the topic `Labels`, which the next model learns from."""

import msgspec

from infra.labels import FRAUD, GENUINE, decode_verdict

ASKED = "asked"
VERDICTS = {FRAUD: "Fraud", GENUINE: "Genuine", ASKED: "Customer asked"}


class Label(msgspec.Struct, frozen=True):
    """What somebody says about a transaction, and what the model had said."""

    transaction_number: str
    verdict: str
    """`fraud`, `genuine`, or `asked`: the customer has been asked, nothing is known yet."""
    source: str = ""
    """`analyst` or `customer`."""
    by: str = ""
    at: str = ""
    """When, in ISO 8601 with UTC's offset."""
    reason: str | None = None
    note: str | None = None
    link: str | None = None
    """The number of the link that the customer was asked with, or answered by."""
    link_ends: int | None = None
    """Seconds since 1970."""
    fraud_probability: float | None = None
    amount: float | None = None
    merchant: str | None = None
    card_last4: str | None = None
    transaction_date: str | None = None
    model_version: str | None = None
    challenger_version: str | None = None
    challenger_probability: float | None = None
    is_fraud: int | None = None

    @property
    def decides(self) -> bool:
        """Whether it is known now what the transaction was."""
        return self.verdict in {FRAUD, GENUINE}


LEARNED = (
    "fraud_probability", "amount", "merchant", "card_last4", "transaction_date", "model_version", "challenger_version",
    "challenger_probability", "is_fraud",
)  # fmt: skip
"""What a label keeps of the prediction."""

_decode = msgspec.json.Decoder(Label).decode


def decode(value: bytes | None) -> Label | None:
    """None for what is no label: other people write to the topic too, and of theirs the fields count that all have."""
    try:
        return _decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        least = decode_verdict(value)
    return Label(least.transaction_number, least.verdict, at=least.at or "") if least else None


def encode(label: Label) -> bytes:
    """As it stands in the topic."""
    return msgspec.json.encode(label)
