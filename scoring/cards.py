"""What of a card number may be seen: its last four digits, and a token that only the key's owner can make."""

import hashlib
import hmac
import re

# At least 13 digits, spaced or dashed as people write them, in UTF-16 too.
_CARD_NUMBER = re.compile(rb"\d(?:[ \-\x00]{0,3}\d){12,}")
_MOST_DIGITS = 19  # ISO/IEC 7812; what is longer ends in something else, a check value perhaps
# Of what begins before a place, so many bytes behind it tell whether it is a card number.
_REACH = 4 * (_MOST_DIGITS + 1)


def token(card: str, key: bytes) -> str:
    """HMAC-SHA256 of a card number, its first 128 bits in hex: equal for equal cards, useless without the key."""
    return hmac.new(key, card.encode(), hashlib.sha256).hexdigest()[:32]


def masked(card: str) -> str:
    """A card number with all but its last four digits starred."""
    return "*" * (len(card) - 4) + card[-4:] if len(card) > 4 else "*" * len(card)


def mask_text(data: bytes, length: int | None = None) -> bytes:
    """The first `length` of any bytes, or all, with what looks like a card number masked."""
    return _CARD_NUMBER.sub(_stars, data if length is None else data[: length + _REACH])[:length]


def _stars(match: re.Match[bytes]) -> bytes:
    seen = 4 if len(re.findall(rb"\d", match[0])) <= _MOST_DIGITS else 0
    hidden = len(match[0]) - seen
    return b"*" * hidden + match[0][hidden:]
