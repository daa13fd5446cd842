"""Online features: what a transaction costs, what a card's past takes, and how long it takes to have it again."""

import time
from typing import Any

import numpy as np
from confluent_kafka import TopicPartition

from benchmarks.bench import CUSTOMERS, SEED, Bench
from infra.errors import TransientError
from infra.settings import Settings
from infra.topic_reader import TopicReader
from infra.transaction_sources import encode
from scoring.bookmark import Bookmark, Place, encode_bookmark
from scoring.decode import decode_batch
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.history import Events, History
from scoring.inputs import events_of
from scoring.past import Past
from scoring.snapshot import Snapshots, records_of, restored
from simulator.transactions import Simulation

# Transactions of a card in a day: usual, busy.
_A_DAY = (3, 15)
_SIZES = (100, 1_000, 10_000)
# The windows are full, and forgetting has begun.
_DAYS = 10
_OBSERVED = 60_000
# All rows of a partition are within what a history remembers: as much as read-back can be asked for.
_ROWS, _QUICK_ROWS = (100_000, 500_000, 1_000_000), (50_000, 100_000)
_ADDED_AT_ONCE = 2_000


def measure(bench: Bench) -> dict[str, Any]:
    """Both, with 10,000 cards."""
    features = Features(read_feature_files(bench.data))
    rates = _A_DAY[:1] if bench.quick else _A_DAY
    return {
        "cards": CUSTOMERS,
        "observe": [_observe(bench, features, rate) for rate in rates],
        "take over": _take_over(bench, features, _QUICK_ROWS if bench.quick else _ROWS),
    }


def _observe(bench: Bench, features: Features, a_day: int) -> dict[str, Any]:
    """CPU of `History.observe` by the size of its batch, in one partition, and the memory of what it looks back on."""
    bench.progress(f"history: {a_day} transactions of a card a day")
    count = CUSTOMERS * a_day * _DAYS
    parts, history = [], History()
    for frame in Simulation(bench.population, count, SEED, days=_DAYS).frames():
        rows, positions, _ = decode_batch(encode(frame).values)
        batch, _ = features.build(rows, positions)
        parts.append(events_of(batch))
    events = Events._make(np.concatenate(column) for column in zip(*parts, strict=True))
    first = len(events.time) - _OBSERVED
    for at in range(0, first, _ADDED_AT_ONCE):
        history.add(events.take(np.arange(at, min(at + _ADDED_AT_ONCE, first))))
    customer = features.customer
    records = list(records_of(history, [], customer.part, customer.place))
    took = {}
    for size in _SIZES:
        again, _ = restored(records, customer)
        batches = [events.take(np.arange(at, at + size)) for at in range(first, len(events.time) - size + 1, size)]
        began = time.process_time()
        seen = sum(float(again.observe(batch)[:, 8].sum()) for batch in batches)
        took[str(size)] = (time.process_time() - began) / (size * len(batches)) * 1e6
    return {
        "a_day": a_day,
        "in_7_days": seen / (size * len(batches)),
        "us": took,
        "bytes_per_event": history.nbytes / history.held,
        "bytes_per_card": history.nbytes / CUSTOMERS,
        "snapshot_bytes_per_event": sum(map(len, records)) / history.held,
    }


def _take_over(bench: Bench, features: Features, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Seconds until the histories of all partitions are there: from the log alone, and from snapshots."""
    bench.progress(f"history: filling a topic with {sizes[-1]:,} transactions of nine days")
    settings = bench.fresh()
    bench.fill(settings, sizes[-1], days=9)
    reader = TopicReader(settings.kafka, settings.kafka.topics.transactions)
    ends = reader.ends()
    reader.close()
    rows: list[dict[str, Any]] = []
    for size in sizes:
        bench.progress(f"history: reading {size:,} rows back")
        offsets = {number: end * size // sum(ends.values()) for number, end in ends.items()}
        past, seconds = _restored(settings, features, offsets, {})
        rows.append({"rows": sum(offsets.values()), "seconds": seconds, "mb": past.nbytes / 1e6})
    bench.progress("history: writing and reading snapshots")
    places, written, longest = _snapshots(settings, features, past)
    _, seconds = _restored(settings, features, offsets, places)
    bench.drop(settings)
    return {
        "partitions": len(ends),
        "log": rows,
        "snapshot": {"rows": sum(offsets.values()), "seconds": seconds, "written": written, "pause_ms": longest * 1e3},
    }


def _restored(
    settings: Settings, features: Features, offsets: dict[int, int], places: dict[int, Place]
) -> tuple[Past, float]:
    past = Past(settings.kafka, features)
    committed = [
        TopicPartition(
            settings.kafka.topics.transactions,
            number,
            offset,
            encode_bookmark(Bookmark(start=0, snapshot=places.get(number))),
        )
        for number, offset in offsets.items()
    ]
    began = time.monotonic()
    past.restore(committed, lambda: None)
    return past, time.monotonic() - began


def _snapshots(settings: Settings, features: Features, past: Past) -> tuple[dict[int, Place], float, float]:
    """Where they lie, the seconds that writing took, and the longest time for which scoring would have stood still."""
    snapshots, places = Snapshots(settings.kafka, features), {}
    began, longest = time.monotonic(), 0.0
    for number, position, history in past.histories():
        paused = time.monotonic()
        snapshots.begin(number, position, history, [])
        longest = max(longest, time.monotonic() - paused)
        while snapshots.busy:
            time.sleep(0.01)
        places |= dict(snapshots.written())
        if number not in places:
            raise TransientError(f"the snapshot of partition {number} was not written")
    return places, time.monotonic() - began, longest
