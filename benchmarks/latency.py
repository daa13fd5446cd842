"""From the moment a transaction is due at its producer to the moment its prediction can be read, read_committed."""

import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, TopicPartition
from numpy.typing import NDArray

from benchmarks.bench import Bench
from benchmarks.pacing import due_ns
from benchmarks.processes import Measured, scorers, started, wait_for_group
from infra.errors import TransientError
from infra.kafka import REQUEST_TIMEOUT_SECONDS, client_config, partitions
from infra.settings import Settings

RATES = (100, 1_000, 10_000)
# At the beginning of each rate, not counted: batches find their size, and the second of the broker's compilers
# finds what small transactions need, for half a minute; until then a commit takes several times as long.
_WARM_SECONDS, _QUICK_WARM_SECONDS = 30.0, 5.0
# A system that cannot keep up is given that long to answer the rest.
_DRAIN_SECONDS = 60.0
_READ_AT_ONCE = 10_000


class _Number(msgspec.Struct):
    trans_num: str


def measure(bench: Bench) -> dict[str, Any]:
    """Each rate in turn against one scorer that goes on running."""
    return _of_one(bench, bench.fresh())


def measure_at_least_once(bench: Bench) -> dict[str, Any]:
    """The same of a scorer that does not wait for commits."""
    settings = bench.fresh()
    settings.scoring.delivery = "at-least-once"
    return _of_one(bench, settings)


def _of_one(bench: Bench, settings: Settings) -> dict[str, Any]:
    seconds = 4.0 if bench.quick else 30.0
    with scorers(bench, settings) as measured:
        wait_for_group(settings, measured)
        return at_rates(bench, settings, measured, RATES, seconds)


def under_load(bench: Bench, offered: float) -> dict[str, Any]:
    """At 20, 40, 60 and 80 % of what is reached while as much is sent as one process takes from a full topic.

    Sending and reading take place on the same cores, so that is less.
    """
    settings = bench.fresh()
    with scorers(bench, settings) as measured:
        wait_for_group(settings, measured)
        bench.progress(f"load: {offered:,.0f} transactions/s are offered")
        maximum = _sustained(bench, settings, measured, round(offered))
        rates = [round(maximum * share / 100) * 10 for share in (2, 4, 6, 8)]
        return {"maximum": maximum, "rates": at_rates(bench, settings, measured, rates, 10.0)}


def _sustained(bench: Bench, settings: Settings, measured: Measured, rate: int) -> float:
    """Predictions per second while more is sent than can be scored: in the second half of the time, all is warm."""
    half = int(_WARM_SECONDS / 2 * 1e9)
    total = round(rate * _WARM_SECONDS)
    reader = Reader(settings)
    try:
        positions = positions_of(bench, total)
        arrived, paced = paced_run(bench, settings, measured, reader, positions, rate, _WARM_SECONDS, 0, total)
    finally:
        reader.close()
    since = arrived - paced["start_ns"]
    return float(((since > half) & (since <= 2 * half)).sum() / (half / 1e9))


def at_rates(
    bench: Bench, settings: Settings, measured: Measured, rates: Sequence[int], seconds: float
) -> dict[str, Any]:
    """The percentiles of each rate, in milliseconds; every transaction must be answered."""
    warm = _QUICK_WARM_SECONDS if bench.quick else _WARM_SECONDS
    sizes = [round(rate * (seconds + warm)) for rate in rates]
    total, results, skip = sum(sizes), {}, 0
    positions = positions_of(bench, total)
    reader = Reader(settings)
    try:
        for rate, size in zip(rates, sizes, strict=True):
            bench.progress(f"latency at {rate:,} transactions/s")
            arrived, paced = paced_run(bench, settings, measured, reader, positions, rate, seconds + warm, skip, total)
            latency = (arrived - due_ns(paced["start_ns"], np.arange(size), rate)) / 1e6
            counted = latency[round(rate * warm) :]
            results[str(rate)] = percentiles(counted) | {"producer_late_p99_ms": paced["late_p99_ms"]}
            skip += size
    finally:
        reader.close()
    bench.drop(settings)
    return results


def percentiles(milliseconds: NDArray[np.float64]) -> dict[str, float]:
    """p50, p99 and p99.9 as values that occurred; a percentile with fewer than ten values above it is left out."""
    found = {"count": float(len(milliseconds))}
    for name, q in (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)):
        if len(milliseconds) * (100 - q) / 100 >= 10 - 1e-9:
            found[name] = float(np.percentile(milliseconds, q, method="higher"))
    return found | {"max": float(milliseconds.max())}


def paced_run(
    bench: Bench,
    settings: Settings,
    measured: Measured,
    reader: "Reader",
    positions: dict[bytes, int],
    rate: int,
    seconds: float,
    skip: int,
    total: int,
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Arrival of each prediction in monotonic nanoseconds, and what the producer says."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.pacing",
        str(rate),
        str(seconds),
        "--skip",
        str(skip),
        "--of",
        str(total),
    ]
    count = round(rate * seconds)
    arrived = np.zeros(count, np.int64)
    missing, ended = count, None
    with started(bench, [command], bench.environment(settings), "pacing") as producer:
        while missing:
            keys, now = reader.read()
            for key in keys:
                at = positions[key] - skip
                if arrived[at] == 0:
                    arrived[at] = now
                    missing -= 1
            if keys:
                continue
            measured.check()
            if ended is None and producer.handles[0].poll() is not None:
                ended = time.monotonic()
            if ended is not None and time.monotonic() - ended > _DRAIN_SECONDS:
                raise TransientError(f"{missing:,} of {count:,} transactions were not answered")
        producer.handles[0].wait(_DRAIN_SECONDS)
        return arrived, producer.last_reports()[0]


def positions_of(bench: Bench, total: int) -> dict[bytes, int]:
    """Each transaction's place in the order of sending, by its number."""
    decode = msgspec.json.Decoder(_Number).decode
    numbers = (decode(value).trans_num.encode() for records in bench.records(total) for value in records.values)
    return {number: position for position, number in enumerate(numbers)}


class Reader:
    """Reads the predictions that come from now on as a stranger does, as soon as they are committed."""

    def __init__(self, settings: Settings):
        topic = settings.kafka.topics.predictions
        self._consumer = Consumer(
            client_config(settings.kafka)
            | {
                "group.id": f"{settings.scoring.group_id}-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "queued.min.messages": 100_000,
                "fetch.queue.backoff.ms": 10,
            }
        )
        starts = [TopicPartition(topic, p) for p in range(partitions(settings.kafka)[topic])]
        for start in starts:
            _, start.offset = self._consumer.get_watermark_offsets(start, timeout=REQUEST_TIMEOUT_SECONDS)
        self._consumer.assign(starts)

    def read(self) -> tuple[list[bytes], int]:
        """The keys that have come, and when."""
        first = self._consumer.poll(0.1)
        now = time.monotonic_ns()
        if first is None:
            return [], now
        messages = [first, *self._consumer.consume(_READ_AT_ONCE, 0)]
        return [message.key() or b"" for message in messages if not message.error()], now

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()
