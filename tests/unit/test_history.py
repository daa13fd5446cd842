"""Online features against a reference that is slow and plain: one row at a time, over lists."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.geography import distance_km
from scoring.history import (
    CARD_EVENTS,
    CLOCK_STEP,
    DAY,
    HORIZON,
    HOUR,
    LATENESS,
    LEAST_SPREAD,
    MERCHANT_EVENTS,
    ONLINE_INPUTS,
    ONLINE_VERSION,
    RATIO_LIMIT,
    WINDOWS,
    Events,
    History,
)

NAN = float("nan")


@dataclass
class Event:
    card: int
    merchant: int
    category: int
    time: int
    amount: float
    latitude: float
    longitude: float
    mark: int = 0


def reference(events: list[Event]) -> np.ndarray:
    """What the module docstring of scoring.history says, word by word."""
    features = []
    clock = highest = events[0].time
    for i, e in enumerate(events):
        if e.time > clock:
            clock = min(e.time, clock + CLOCK_STEP)
        elif e.time < clock - LATENESS:
            clock -= CLOCK_STEP
        e.mark = highest = max(highest, clock)
        before = [o for o in events[:i] if o.card == e.card][-CARD_EVENTS:]
        before = [o for o in before if o.mark >= e.mark - HORIZON]
        week = [o for o in before if e.time - WINDOWS["7d"] <= o.time <= e.time]
        of_merchant = [o for o in events[:i] if o.merchant == e.merchant][-MERCHANT_EVENTS:]
        features.append(of_row(e, week, [o.time for o in of_merchant if o.mark >= e.mark - HORIZON]))
    return np.array([[row[name] for name in ONLINE_INPUTS] for row in features], np.float64).astype(np.float32)


def of_row(e: Event, week: list[Event], of_merchant: list[int]) -> dict[str, float]:
    row: dict[str, float] = {}
    for window, seconds in WINDOWS.items():
        amounts = [o.amount + 0.0 for o in week if o.time >= e.time - seconds]
        total = 0.0
        for amount in amounts:
            total += amount
        row |= {f"card_count_{window}": len(amounts), f"card_sum_{window}": total}
        row |= {f"card_mean_{window}": total / len(amounts) if amounts else NAN}
        row |= {f"card_max_{window}": max(amounts) if amounts else NAN}
    mean = row["card_mean_7d"]
    squares = 0.0
    for o in week:
        squares += (o.amount - mean) * (o.amount - mean)
    spread = math.sqrt(squares / len(week)) if week else 0.0
    row["card_amount_to_mean"] = clip((e.amount + 0.0) / mean) if week and mean else NAN
    row["card_amount_z"] = clip((e.amount - mean) / spread) if spread >= LEAST_SPREAD else NAN
    row["card_first_at_merchant"] = all(o.merchant != e.merchant for o in week)
    row["card_first_in_category"] = all(o.category != e.category for o in week)
    row |= dict.fromkeys(("card_seconds_since_last", "card_km_since_last", "card_kmh_since_last"), NAN)
    if week:
        last = sorted(week, key=lambda o: o.time)[-1]
        points = (last.latitude, last.longitude, e.latitude, e.longitude)
        km = float(distance_km(*(np.array([degrees]) for degrees in points))[0])
        row["card_seconds_since_last"] = e.time - last.time
        row["card_km_since_last"] = km
        row["card_kmh_since_last"] = km * HOUR / max(e.time - last.time, 1)
    span = max([e.time, *of_merchant]) - min([e.time, *of_merchant])
    row["merchant_rate"] = len(of_merchant) * HOUR / max(span, 60) if of_merchant else NAN
    return row


def clip(value: float) -> float:
    return max(-RATIO_LIMIT, min(RATIO_LIMIT, value))


def columns(events: list[Event]) -> Events:
    return Events(*(np.array([getattr(e, name) for e in events]) for name in Events._fields))


def observed(events: list[Event], sizes: list[int], history: History | None = None) -> np.ndarray:
    """The features with the log cut into batches of these sizes, and again from the first on."""
    history = history or History()
    parts, at, turn = [], 0, 0
    while at < len(events):
        batch = events[at : at + sizes[turn % len(sizes)]]
        parts.append(history.observe(columns(batch)))
        at, turn = at + len(batch), turn + 1
    return np.concatenate(parts)


def test_rows_that_are_only_added_are_seen_as_well():
    events, history = drawn(900, 4, 4, 20, 5), History()
    history.add(columns(events[:700]))
    assert observed(events[700:], [50], history).tobytes() == reference(events)[700:].tobytes()


def drawn(count: int, cards: int, merchants: int, days: float, seed: int) -> list[Event]:
    """A log in time order but for a tenth of it, with cents, equal times and equal amounts among it."""
    draw = np.random.default_rng(seed)
    times = np.sort(draw.integers(0, int(days * DAY), count)) + 1_700_000_000
    late = draw.random(count) < 0.1
    times = np.where(late, times - draw.integers(0, 2 * DAY, count), times)
    return [
        Event(
            int(draw.integers(cards)),
            merchant := int(draw.integers(merchants)),
            merchant % 3,
            int(time),
            float(draw.choice([9.99, 0.1, round(float(draw.lognormal(3, 1)), 2)])),
            float(draw.uniform(-90, 90)),
            float(draw.uniform(-180, 180)),
        )
        for time in times
    ]


CUTS = [[1], [7], [1_000], [3, 400, 1]]


@pytest.mark.parametrize("sizes", CUTS)
@pytest.mark.parametrize(
    ("count", "cards", "merchants", "days"),
    [(1_500, 3, 4, 20), (1_500, 1, 1, 0.1), (1_500, 40, 5, 60), (700, 2, 2, 2_000)],
    ids=["busy cards", "one card in two hours", "two months", "hours between rows"],
)
def test_features_are_those_of_the_definition_however_the_log_is_cut(count, cards, merchants, days, sizes):
    events = drawn(count, cards, merchants, days, 1)
    assert observed(events, sizes).tobytes() == reference(events).tobytes()


# Seconds around each edge of the definition.
EDGES = [sign * (w + d) for w in (*WINDOWS.values(), HORIZON, CLOCK_STEP) for d in (-1, 0, 1) for sign in (1, -1)]
EVENTS = st.builds(
    Event,
    card=st.integers(0, 2),
    merchant=st.integers(0, 2),
    category=st.integers(0, 1),
    time=st.one_of(
        st.sampled_from(EDGES), st.integers(-3 * HORIZON, 3 * HORIZON), st.sampled_from([-(10**10), 10**11])
    ),
    amount=st.one_of(st.sampled_from([0.0, -0.0, 0.1, 9.99, -5.0, 1e12]), st.floats(-1e12, 1e12)),
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(EVENTS, min_size=1, max_size=40), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_any_log_and_any_cut(events: list[Event], sizes: list[int]):
    assert observed(events, sizes).tobytes() == reference(events).tobytes()


def test_a_date_that_is_wrong_by_years_takes_nothing_from_the_others():
    events = drawn(600, 3, 4, 5, 2)
    wrong = Event(7, 9, 0, 10**11, 1.0, 0.0, 0.0)
    after = observed([*events[:300], wrong, *events[300:]], [50])
    assert np.delete(after, 300, axis=0).tobytes() == observed(events, [50]).tobytes()


def test_memory_is_bounded_by_what_is_remembered():
    history = History()
    events = drawn(20_000, 5, 5, 30, 3)
    for _ in range(2):
        observed(events, [500], history)
        assert history.nbytes < 500_000  # all 20,000 events would be 1.1 MB


def test_the_version_goes_with_the_definition():
    """Whoever changes a feature changes this digest, and must raise the version with it: models hold it."""
    digest = hashlib.sha256(observed(drawn(2_000, 10, 20, 30, 4), [100]).tobytes()).hexdigest()[:16]
    assert (ONLINE_VERSION, digest) == ("1", "4b3cb414892067af")
