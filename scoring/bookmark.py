"""What goes with a committed offset as its metadata: where the history of the partition can be found again."""

import msgspec

from scoring.history import ONLINE_VERSION

SNAPSHOT_LAYOUT = 1
"""Of what `scoring.snapshot` writes; one of another layout is not read."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot in the topic of the histories."""

    layout: int = SNAPSHOT_LAYOUT
    partition: int
    first: int
    """The offset of its first record, as is `last` of its last."""
    last: int
    key: str
    """Of its records; those of others may stand between them."""
    sha256: str
    """Of their values, one after another."""
    position: int
    """The offset of the transactions behind the last one that the history has seen."""
    numbering: str
    """Of cards and merchants: see `Features`."""


class Bookmark(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the log where a history can begin, and a snapshot that spares most of the way from there."""

    online: str = ONLINE_VERSION
    start: int
    """The offset to read from."""
    reading: int | None = None
    """The clock in front of it."""
    highest: int = 0
    snapshot: Place | None = None


def encode_bookmark(bookmark: Bookmark) -> str:
    """As it is committed."""
    return msgspec.json.encode(bookmark).decode()


def decode_bookmark(metadata: str | None) -> Bookmark:
    """A bookmark as it was committed; the start of the log where none was, or one of another definition."""
    try:
        found = msgspec.json.decode(metadata or "", type=Bookmark)
    except msgspec.MsgspecError:
        return Bookmark(start=0)
    return found if found.online == ONLINE_VERSION else Bookmark(start=0)
