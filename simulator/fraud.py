"""Known fraud: four ways in which cards are misused, as incidents of several purchases each.

None of them can be told from one column. Each overlaps with what honest people do (journeys, large purchases,
late nights), so that a model has to weigh things up and some fraud stays hidden.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from simulator.purchases import Purchases, together
from simulator.world import TOWN_LATITUDE, TOWN_LONGITUDE, World

KINDS: tuple[str, ...] = ("far_burst", "test_charge", "compromised_merchant", "night_takeover")
MINUTE, HOUR, DAY = 60, 3_600, 86_400


class _Rows(NamedTuple):
    """Which incident each row belongs to, its place in it, and how many incidents there are."""

    incident: np.ndarray
    place: np.ndarray
    incidents: int


def fraud(world: World, count: int, seconds: int, rng: np.random.Generator) -> Purchases:
    """`count` fraudulent purchases in time order, of all kinds alike, within `seconds` of the start."""
    shares = [count // len(KINDS) + (at < count % len(KINDS)) for at in range(len(KINDS))]
    makers: tuple[Callable[..., Purchases], ...] = (
        _far_burst,
        _test_charge,
        _compromised_merchant,
        _night_takeover,
    )
    return together(
        [make(world, share, seconds, rng) for make, share in zip(makers, shares, strict=True)]
    ).in_time_order()


def _far_burst(world: World, count: int, seconds: int, rng: np.random.Generator) -> Purchases:
    """A copied card, used four to nine times within two hours in a town far from home."""
    rows = _incidents(count, 4, 9, rng)
    customer = _cards(world, rows, rng)
    start = _start(rng.random(rows.incidents) * seconds, 2 * HOUR, seconds)
    second = start[rows.incident] + rng.integers(0, 2 * HOUR, count)
    # The farther of four towns drawn: mostly, but not always, another part of the country.
    towns = rng.integers(len(TOWN_LATITUDE), size=(4, rows.incidents))
    home = customer[np.searchsorted(rows.incident, np.arange(rows.incidents))]
    apart = np.hypot(TOWN_LATITUDE[towns] - world.latitude[home], TOWN_LONGITUDE[towns] - world.longitude[home])
    town = towns[np.argmax(apart, axis=0), np.arange(rows.incidents)][rows.incident]
    where = world.beside(TOWN_LATITUDE[town], TOWN_LONGITUDE[town], rng.gamma(1.5, 6.0, count), _directions(count, rng))
    category = _categories(world, ("shopping_pos", "gas_transport", "misc_pos", "grocery_pos"), count, rng)
    amount = _amounts(190, 0.75, count, rng)
    return _purchases(
        world,
        second=second,
        customer=customer,
        category=category,
        amount=amount,
        where=where,
        kind="far_burst",
        seconds=seconds,
        rng=rng,
    )


def _test_charge(world: World, count: int, seconds: int, rng: np.random.Generator) -> Purchases:
    """A stolen number: a charge of a dollar or two to see whether it works, then two to five large ones."""
    rows = _incidents(count, 3, 6, rng)
    customer = _cards(world, rows, rng)
    start = _start(rng.random(rows.incidents) * seconds, 3 * HOUR, seconds)
    wait = rng.integers(3 * MINUTE, 30 * MINUTE, count)
    second = start[rows.incident] + rows.place * wait
    category = _categories(world, ("shopping_net", "misc_net", "misc_net"), count, rng)
    amount = np.where(rows.place == 0, np.round(0.5 + 2.5 * rng.random(count), 2), _amounts(480, 0.6, count, rng))
    where = _near_home(world, customer, rng)
    return _purchases(
        world,
        second=second,
        customer=customer,
        category=category,
        amount=amount,
        where=where,
        kind="test_charge",
        seconds=seconds,
        rng=rng,
    )


def _compromised_merchant(world: World, count: int, seconds: int, rng: np.random.Generator) -> Purchases:
    """A shop whose till leaks: over a day or two, 15 to 50 cards are charged there for more than is usual."""
    rows = _incidents(count, 15, 50, rng)
    customer = world.everybody.draw(np.zeros(count, dtype=np.int64), rng.random(count))
    span = rng.integers(12 * HOUR, 48 * HOUR, rows.incidents)
    start = _start(rng.random(rows.incidents) * seconds, span, seconds)
    second = start[rows.incident] + (rng.random(count) * span[rows.incident]).astype(np.int64)
    category = _categories(world, ("gas_transport", "food_dining", "grocery_pos", "entertainment"), rows.incidents, rng)
    shop = world.merchants(category, rng.random(rows.incidents))[rows.incident]
    # Thieves keep to one price range per shop.
    typical = np.exp(rng.normal(np.log(230), 0.3, rows.incidents))[rows.incident]
    amount = np.round(typical * np.exp(0.2 * rng.standard_normal(count)), 2)
    where = _near_home(world, customer, rng)
    made = _purchases(
        world,
        second=second,
        customer=customer,
        category=category[rows.incident],
        amount=amount,
        where=where,
        kind="compromised_merchant",
        seconds=seconds,
        rng=rng,
    )
    return Purchases(made.second, made.customer, shop, made.amount, made.latitude, made.longitude, made.kind)


def _night_takeover(world: World, count: int, seconds: int, rng: np.random.Generator) -> Purchases:
    """An account taken over while its owner sleeps: three to eight large purchases from 23 to 5 o'clock."""
    rows = _incidents(count, 3, 8, rng)
    customer = _cards(world, rows, rng)
    night = np.floor(rng.random(rows.incidents) * max(1, seconds // DAY - 1)).astype(np.int64)
    first = night * DAY + rng.integers(23 * HOUR, 27 * HOUR, rows.incidents)
    second = _start(first, 2 * HOUR, seconds)[rows.incident] + rng.integers(0, 2 * HOUR, count)
    category = _categories(world, ("shopping_net", "shopping_net", "misc_net", "entertainment", "travel"), count, rng)
    amount = _amounts(420, 0.7, count, rng)
    where = _near_home(world, customer, rng)
    return _purchases(
        world,
        second=second,
        customer=customer,
        category=category,
        amount=amount,
        where=where,
        kind="night_takeover",
        seconds=seconds,
        rng=rng,
    )


def _incidents(count: int, low: int, high: int, rng: np.random.Generator) -> _Rows:
    """Split `count` rows into incidents of `low` to `high` rows; the last one takes what is left."""
    sizes = rng.integers(low, high + 1, count // low + 1)
    ends = np.minimum(np.cumsum(sizes), count)
    sizes = np.diff(ends, prepend=0)
    sizes = sizes[sizes > 0]
    incident = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return _Rows(incident, place, len(sizes))


def _start(start: np.ndarray, span: int | np.ndarray, seconds: int) -> np.ndarray:
    """Starts, int64 seconds, moved so that what lasts `span` ends within the period if it can."""
    return np.clip(start, 0, np.maximum(0, seconds - span - 1)).astype(np.int64)


def _cards(world: World, rows: _Rows, rng: np.random.Generator) -> np.ndarray:
    """One customer per incident, on each of its rows."""
    chosen = world.everybody.draw(np.zeros(rows.incidents, dtype=np.int64), rng.random(rows.incidents))
    return chosen[rows.incident]


def _categories(world: World, names: tuple[str, ...], count: int, rng: np.random.Generator) -> np.ndarray:
    """One of the categories per row, int64; any category where a population has none of them."""
    known = [world.categories.index(name) for name in names if name in world.categories]
    options = np.array(known or range(len(world.categories)), dtype=np.int64)
    return options[rng.integers(len(options), size=count)]


def _amounts(median: float, sigma: float, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.round(np.maximum(1.0, median * np.exp(sigma * rng.standard_normal(count))), 2)


def _directions(count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.random(count) * 2 * np.pi


def _near_home(world: World, customer: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    count = len(customer)
    return world.beside(
        world.latitude[customer],
        world.longitude[customer],
        world.radius[customer] * rng.gamma(2.0, 1.0, count),
        _directions(count, rng),
    )


def _purchases(
    world: World,
    *,
    second: np.ndarray,
    customer: np.ndarray,
    category: np.ndarray,
    amount: np.ndarray,
    where: tuple[np.ndarray, np.ndarray],
    kind: str,
    seconds: int,
    rng: np.random.Generator,
) -> Purchases:
    return Purchases(
        second=np.minimum(second, seconds - 1).astype(np.int64),
        customer=customer,
        merchant=world.merchants(category, rng.random(len(customer))),
        amount=amount,
        latitude=where[0],
        longitude=where[1],
        kind=np.full(len(customer), 1 + KINDS.index(kind), dtype=np.int8),
    )
