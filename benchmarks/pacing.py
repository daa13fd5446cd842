"""A producer that keeps its pace: `python -m benchmarks.pacing RATE SECONDS --skip N --of TOTAL`.

Each transaction has the moment at which it is due, fixed before the first is sent. A system that answers late does not
make it send less or later, and latency is counted from that moment: waiting that a slow system causes, or this
producer, is part of it. (Counted from the sending, it would be left out: coordinated omission.)
"""

import argparse
import json
import time
from collections.abc import Iterator

import numpy as np
from confluent_kafka import Producer

from benchmarks.bench import CUSTOMERS, MERCHANTS, SEED
from infra.kafka import client_config
from infra.settings import get_settings
from infra.transaction_sources import encode
from simulator.population import simulate_population
from simulator.transactions import Simulation

# Between two looks at the clock. Sleeping shorter takes CPU from what is measured.
_TICK_SECONDS = 0.0005
_FLUSH_SECONDS = 30


def due(start_ns: int, now_ns: int, rate: float, count: int) -> int:
    """How many of `count` transactions are due by now: the first at the start, the others `1 / rate` s apart."""
    if now_ns < start_ns:
        return 0
    return min(count, int((now_ns - start_ns) * rate / 1e9) + 1)


def due_ns(start_ns: int, position: np.ndarray, rate: float) -> np.ndarray:
    """When the transactions at these positions are due."""
    return start_ns + (position * (1e9 / rate)).astype(np.int64)


def paced(rate: float, count: int, start_ns: int) -> Iterator[tuple[int, int, int]]:
    """First and last position of what to send now, and the time; until all were given."""
    sent = 0
    while sent < count:
        now = time.monotonic_ns()
        ready = due(start_ns, now, rate, count)
        if ready > sent:
            yield sent, ready, now
            sent = ready
        wait = start_ns + sent * 1e9 / rate - time.monotonic_ns()
        if wait > 0:
            time.sleep(max(wait / 1e9, _TICK_SECONDS))


def main() -> None:
    """Send and print one JSON object: when the first was due, on the monotonic clock, and how late the sending was."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rate", type=float)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--skip", type=int, required=True)
    parser.add_argument("--of", type=int, required=True)
    asked = parser.parse_args()
    settings = get_settings()
    count = round(asked.rate * asked.seconds)
    simulation = Simulation(simulate_population(CUSTOMERS, MERCHANTS, SEED), asked.of, SEED)
    messages: list[dict[str, bytes]] = []
    for frame in simulation.frames(asked.skip):
        records = encode(frame)
        messages += [{"key": k, "value": v} for k, v in zip(records.keys, records.values, strict=True)]
        if len(messages) >= count:
            break
    producer = Producer(
        client_config(settings.kafka)
        | {
            "partitioner": "murmur2_random",
            "linger.ms": 1,
            "delivery.report.only.error": True,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    producer.list_topics(settings.kafka.topics.transactions, timeout=10)  # connects
    start = time.monotonic_ns() + 100_000_000
    late = np.empty(count, np.int64)
    for first, last, now in paced(asked.rate, count, start):
        producer.produce_batch(settings.kafka.topics.transactions, messages[first:last])
        producer.poll(0)
        late[first:last] = now - due_ns(start, np.arange(first, last), asked.rate)
    producer.flush(_FLUSH_SECONDS)
    print(json.dumps({"start_ns": start, "sent": count, "late_p99_ms": float(np.percentile(late, 99)) / 1e6}))


if __name__ == "__main__":
    main()
