"""Customers that are fetched when their cards are seen."""

import sys
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import TransientError
from infra.feature_tables import CUSTOMER_SCHEMA, parts_of
from infra.partitioner import shares
from scoring.features import CUSTOMER_COLUMNS
from scoring.index import CardIndex, NameIndex
from scoring.lookup import Customers

PARTS = 240
CARDS = [str(4_000_000_000_000_000 + number * 7_919) for number in range(5_000)]
PART = parts_of(map(int, CARDS), PARTS)
EVERYONE = pl.DataFrame({"card": CARDS, "customer_lat": np.linspace(-80, 80, len(CARDS)), "age": range(len(CARDS))})
EVERYONE = pl.concat([CUSTOMER_SCHEMA.to_frame(), EVERYONE], how="diagonal_relaxed").with_columns(
    pl.col("^.*_code|customer_lon|city_pop$").fill_null(0)
)


class Store:
    """Gives parts of everyone, and remembers which."""

    def __init__(self) -> None:
        self.asked: list[set[int]] = []
        self.away = False

    def fetch(self, parts: Collection[int]) -> pl.DataFrame:
        if self.away:
            raise TransientError("away")
        self.asked.append(set(parts))
        return EVERYONE.filter(pl.Series(np.isin(PART, list(parts))))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def customers(store: Store) -> Customers:
    return Customers(EVERYONE.clear(), CUSTOMER_COLUMNS, PARTS, (), store.fetch)


def test_what_is_fetched_is_what_everyone_has(customers: Customers):
    everyone = Customers(EVERYONE, CUSTOMER_COLUMNS)
    for start in range(0, len(CARDS), 400):
        cards = CARDS[start : start + 400]
        # As numbers and as text, one after the other.
        keys = [card if i % 2 else int(card) for i, card in enumerate(cards)]
        rows, expected = customers.rows(keys), everyone.rows(keys)
        assert customers.frame["card"].gather(rows).to_list() == cards
        for found, wanted in ((customers.inputs, everyone.inputs), (customers.cosine, everyone.cosine)):
            np.testing.assert_array_equal(found[rows], wanted[expected])
    assert customers.frame.height == len(CARDS)


def test_a_part_is_fetched_once_and_rows_keep_their_numbers(customers: Customers, store: Store):
    first = customers.rows(CARDS[:3])
    assert store.asked == [set(PART[:3].tolist())]
    customers.rows(CARDS[100:200])
    assert customers.rows(CARDS[:3]).tolist() == first.tolist()
    assert len(store.asked) == 2
    assert not store.asked[0] & store.asked[1]
    stranger = next(card for card in range(10**15, 10**15 + 10_000) if parts_of([card], PARTS)[0] in customers.held)
    assert customers.rows([stranger]).tolist() == [-1]
    assert len(store.asked) == 2


def test_nobody_is_unknown_while_hazelcast_is_away(customers: Customers, store: Store):
    store.away = True
    with pytest.raises(TransientError):
        customers.rows(CARDS[:1])
    store.away = False
    assert customers.rows(CARDS[:1]).tolist() != [-1]


def test_threads_that_look_up_at_once_find_the_same(customers: Customers):
    """Histories are read beside the scoring, and both fetch what they do not find."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            halves = [CARDS[start : start + 50] for start in range(0, len(CARDS), 50)]
            found = list(pool.map(customers.rows, [*halves, *reversed(halves)]))
    finally:
        sys.setswitchinterval(before)
    for cards, rows in zip([*halves, *reversed(halves)], found, strict=True):
        assert customers.frame["card"].gather(rows).to_list() == cards
        np.testing.assert_array_equal(customers.inputs[rows, 5], [CARDS.index(card) for card in cards])


@pytest.mark.parametrize("partitions", [2, 4, 6, 12, 16])
def test_a_scorer_needs_no_more_than_the_parts_of_its_partitions(customers: Customers, partitions: int):
    mine = [card for card, at in zip(CARDS, shares([c.encode() for c in CARDS], partitions), strict=True) if at == 0]
    customers.rows(mine)
    assert customers.frame["card"].sort().to_list() == sorted(mine)


_CARDS = st.one_of(
    st.integers(0, 300),
    st.integers(2**63 - 3, 2**63 + 3),
    st.integers(1 - 2**63, 2**80),
    st.sampled_from(["", "A1", "é", "7"]),
)


@settings(max_examples=500)
@given(st.lists(st.lists(_CARDS, max_size=150), max_size=5), st.lists(_CARDS, max_size=50))
def test_the_index_of_cards_says_what_a_dict_says(added: list[list[int | str]], asked: list[int | str]):
    index, expected = CardIndex(), NameIndex()
    for cards in added:
        index.add(cards)
        expected.add(cards)
    for keys in (asked, [card for card in asked if isinstance(card, int)], *added):
        assert index.rows(keys).tolist() == expected.rows(keys).tolist()


def test_many_cards_are_told_apart():
    index = CardIndex()
    cards = list(range(4_000_000_000_000_000, 4_000_000_000_100_000))
    index.add(cards)
    assert index.rows(cards).tolist() == list(range(len(cards)))
    assert (index.rows(range(100_000)) == -1).all()
