"""From the bytes of a batch to transactions, each message on its own.

Decoding the whole batch in one call would be faster and wrong: two broken messages can join to valid JSON,
and one broken message would decide about its neighbours.
"""

from collections.abc import Sequence

import msgspec

from scoring.transaction import Reason, Rejected, Transaction

_decode = msgspec.json.Decoder(Transaction).decode


def decode_batch(values: Sequence[bytes | None]) -> tuple[list[Transaction], list[int], dict[int, Rejected]]:
    """Decode the values of a batch.

    Returns:
        The transactions that could be decoded, their positions in `values`, and what was rejected, by position.
    """
    try:
        return list(map(_decode, values)), list(range(len(values))), {}  # type: ignore[arg-type]
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, RecursionError, ValueError):
        pass  # at least one is broken: find out which, one by one
    rows: list[Transaction] = []
    positions: list[int] = []
    rejected: dict[int, Rejected] = {}
    for position, value in enumerate(values):
        if not value:
            rejected[position] = Rejected(Reason.EMPTY, "the message has no value")
            continue
        try:
            rows.append(_decode(value))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            # The messages of msgspec name the place and the types, never the value.
            detail = "not valid UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            rejected[position] = Rejected(Reason.MALFORMED, detail)
        else:
            positions.append(position)
    return rows, positions, rejected
