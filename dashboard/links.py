"""The link by which a customer answers "was this you?": signed, for one transaction, for a time, once.

A link holds no more than the transaction's number, when it ends, and a number of its own; whoever changes a byte
of it has no signature for that. That it is used once is kept by the case desk.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from infra.errors import TerminalError


class LinkRefused(TerminalError):
    """The link cannot be used. The message is for the customer."""


@dataclass(frozen=True)
class Link:
    """What a link says."""

    transaction_number: str
    ends: datetime
    nonce: str


def issue(transaction_number: str, valid: timedelta) -> Link:
    """A new link."""
    ends = datetime.now(UTC).replace(microsecond=0) + valid
    return Link(transaction_number, ends, secrets.token_urlsafe(12))


def sign(link: Link, key: bytes) -> str:
    """Its token: base64url of the content, a dot, base64url of its HMAC-SHA256."""
    content = orjson.dumps([link.transaction_number, int(link.ends.timestamp()), link.nonce])
    return f"{_encode(content)}.{_encode(_signature(content, key))}"


def verify(token: str, key: bytes) -> Link:
    """What a token says.

    Raises:
        LinkRefused: it was changed, or its time is over.
    """
    try:
        content, signature = (_decode(part) for part in token.split("."))
    except (ValueError, binascii.Error) as error:
        raise LinkRefused("This link is not complete. Please open it just as you got it.") from error
    if not hmac.compare_digest(signature, _signature(content, key)):
        raise LinkRefused("This link is not one of ours.")
    number, ends, nonce = orjson.loads(content)
    link = Link(number, datetime.fromtimestamp(ends, UTC), nonce)
    if datetime.now(UTC) >= link.ends:
        raise LinkRefused("This link has expired. Please call the number on the back of your card.")
    return link


def _signature(content: bytes, key: bytes) -> bytes:
    return hmac.new(key, b"fraudflow-customer-link:" + content, hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode(data) != text:
        # The last letter has bits that decode to nothing: only one spelling of a token counts.
        raise ValueError("not in its shortest form")
    return data
