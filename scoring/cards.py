"""What of a card number may be seen: its last four digits, and a token that only the key's owner can make."""

import hashlib
import hmac
import re

# 13 to 19 digits, as ISO/IEC 7812 has them, spaced or dashed as people write them.
_CARD_NUMBER = re.compile(rb"(?<!\d)\d(?:[ -]?\d){8,14}((?:[ -]?\d){4})(?!\d)")


def token(card: str, key: bytes) -> str:
    """HMAC-SHA256 of a card number, its first 128 bits in hex: equal for equal cards, useless without the key."""
    return hmac.new(key, card.encode(), hashlib.sha256).hexdigest()[:32]


def masked(card: str) -> str:
    """A card number with all but its last four digits starred."""
    return "*" * (len(card) - 4) + card[-4:] if len(card) > 4 else "*" * len(card)


def mask_text(data: bytes) -> bytes:
    """Any bytes with what looks like a card number masked."""
    return _CARD_NUMBER.sub(lambda match: b"*" * (len(match[0]) - 4) + match[0][-4:], data)
