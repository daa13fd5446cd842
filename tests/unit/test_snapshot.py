"""A history that was written down and read again goes on as the one that was not."""

import msgspec
import numpy as np
import pytest

from infra.settings import KafkaSettings
from scoring.bookmark import Bookmark, Place, decode_bookmark, encode_bookmark
from scoring.features import CUSTOMER_COLUMNS, Features
from scoring.history import DAY, History
from scoring.lookup import Customers
from scoring.snapshot import Unusable, read_snapshot, records_of, restored
from tests.unit.test_history import columns, drawn, observed, reference
from tests.unit.test_lookup import CARDS, EVERYONE, PARTS, Store
from tests.unit.test_scorer import features

__all__ = ["features"]

# Of the customers of these logs: all in one part, in the order of their numbers.
PLACES = np.zeros(100, np.int32), np.arange(100, dtype=np.int32)
PLACE = Place(partition=1, first=5, last=9, key="k", sha256="s", position=700, numbering="f/1")


@pytest.fixture
def customers() -> Customers:
    return Customers(EVERYONE[:100], CUSTOMER_COLUMNS)


@pytest.mark.parametrize(("cards", "merchants", "days"), [(3, 4, 20), (1, 1, 0.1), (40, 5, 60), (2, 2, 2_000)])
@pytest.mark.parametrize("at", [1, 300, 899])
def test_what_is_restored_goes_on_as_if_nothing_had_been(
    cards: int, merchants: int, days: float, at: int, customers: Customers
):
    events, history = drawn(900, cards, merchants, days, 5), History()
    history.add(columns(events[:at]))
    bookmarks = [Bookmark(start=at, reading=events[at].time, highest=events[at].time)]
    again, places = restored(list(records_of(history, bookmarks, *PLACES)), customers)
    assert places == bookmarks
    assert again.clock == history.clock
    assert observed(events[at:], [50], again).tobytes() == reference(events)[at:].tobytes()


def test_what_was_frozen_stays_as_it_was_while_the_history_goes_on():
    events, history = drawn(3_000, 7, 9, 40, 6), History()
    history.add(columns(events[:1_000]))
    frozen, before = history.freeze(), list(records_of(history, [], *PLACES))
    observed(events[1_000:], [30], history)  # grows, moves and packs
    assert list(records_of(frozen, [], *PLACES)) == before


def test_only_what_will_be_asked_for_is_written():
    history = History()
    events = drawn(1_000, 5, 5, 1, 3)
    history.add(columns(events))
    written = sum(len(part["key"]) for name, part in history.parts(100) if name == "cards")
    assert written == 5 * 128
    later = columns(drawn(50, 5, 5, 1, 3))
    for day in range(1, 60):  # the clock follows by an hour at most for each row
        history.add(later._replace(time=later.time + day * DAY))
    newest = {int(time) // DAY for name, part in history.parts(100) if name == "cards" for time in part["time"]}
    assert max(newest) - min(newest) <= 12
    assert all(len(part["key"]) <= 100 + 128 for _, part in history.parts(100))


def test_a_bookmark_says_where_the_snapshot_lies():
    bookmark = Bookmark(start=3, reading=4, highest=5, snapshot=PLACE)
    assert decode_bookmark(encode_bookmark(bookmark)) == bookmark
    plain = encode_bookmark(Bookmark(start=3, reading=4, highest=5)).replace(',"snapshot":null', "")
    assert decode_bookmark(plain) == Bookmark(start=3, reading=4, highest=5)
    assert decode_bookmark(encode_bookmark(msgspec.structs.replace(bookmark, online="0"))) == Bookmark(start=0)
    assert len(encode_bookmark(bookmark)) < 1_000, "the metadata of an offset may have 4,096 bytes"


@pytest.mark.parametrize(("changes", "why"), [({}, "other features"), ({"layout": 0}, "another layout")])
def test_what_was_numbered_or_written_otherwise_is_not_used(features: Features, changes: dict, why: str):
    with pytest.raises(Unusable, match=why):
        read_snapshot(KafkaSettings(), msgspec.structs.replace(PLACE, **changes), features, lambda: None)


def test_another_process_with_other_rows_for_the_cards_finds_them_by_their_places():
    """One has fetched customers in another order than the other, as cards came, and holds other parts."""
    ours, theirs = (Customers(EVERYONE.clear(), CUSTOMER_COLUMNS, PARTS, (), Store().fetch) for _ in range(2))
    seen = ours.rows(CARDS[:500])
    theirs.rows(CARDS[700:300:-1])
    events, history = columns(drawn(2_000, len(seen), 50, 5, 7)), History()
    history.add(events._replace(card=seen[events.card]))
    again, _ = restored(list(records_of(history, [], ours.part, ours.place)), theirs)
    later = columns(drawn(500, len(seen), 50, 5, 8))
    told = [
        history.observe(later._replace(card=ours.rows(CARDS[:500])[later.card])),
        again.observe(later._replace(card=theirs.rows(CARDS[:500])[later.card])),
    ]
    assert not np.array_equal(seen, theirs.rows(CARDS[:500]))
    assert told[0].tobytes() == told[1].tobytes()
    with pytest.raises(KeyError):
        theirs.rows_at(ours.part[:1], np.array([10**6], np.int32))


def test_parts_have_every_column_of_the_log():
    history = History()
    history.add(columns(drawn(10, 2, 2, 1, 1)))
    found = {name: set(part) for name, part in history.parts(100)}
    assert found["merchants"] == {"key", "mark", "time"}
    assert found["cards"] == found["merchants"] | {"amount", "latitude", "longitude", "merchant", "category"}
    assert all(np.diff(part["key"]).min() >= 0 for _, part in history.parts(100))
