"""The topic `Labels`: what all who write to it say of a transaction. Many do, so only these fields are relied on."""

import msgspec

FRAUD, GENUINE = "fraud", "genuine"


class Verdict(msgspec.Struct, frozen=True):
    """The fields of a label that count, whoever has written it."""

    transaction_number: str
    verdict: str
    at: str | None = None
    """When, in ISO 8601."""


_decode = msgspec.json.Decoder(Verdict).decode


def decode_verdict(value: bytes | None) -> Verdict | None:
    """None for what is no label."""
    try:
        return _decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
