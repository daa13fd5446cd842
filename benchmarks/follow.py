"""Follows what comes out while it comes out: how many, when, and at what cost of CPU."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from benchmarks.processes import Measured
from infra.errors import TransientError
from infra.kafka import client_config, partitions
from infra.settings import KafkaSettings

# How often it is looked. A look costs the broker and us well below a millisecond.
_LOOK_SECONDS = 0.02
# No more comes after that long without any.
_QUIET_SECONDS = 0.5
_SILENT_SECONDS = 60.0
_YOUNG = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE}


@dataclass
class Point:
    """What was seen at one moment: `count` transactions answered, and CPU seconds used by then."""

    at: float
    count: int
    cpu: float
    servers: dict[str, float]
    rss: int


@dataclass
class Followed:
    """From the first answers to the last."""

    points: list[Point] = field(default_factory=list)

    @property
    def transactions(self) -> int:
        """Answered between the first look that saw any and the last."""
        return self.points[-1].count - self.points[0].count

    @property
    def seconds(self) -> float:
        """Between those."""
        return self.points[-1].at - self.points[0].at

    @property
    def per_second(self) -> float:
        """Transactions per second."""
        return self.transactions / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per transaction of the measured processes: start-up is before the first point."""
        return (self.points[-1].cpu - self.points[0].cpu) / self.transactions * 1e6

    def server_us(self) -> dict[str, float]:
        """The same for each server."""
        first, last = self.points[0].servers, self.points[-1].servers
        return {name: round((last[name] - first[name]) / self.transactions * 1e6, 2) for name in first}


class Topic:
    """Counts what stands in a topic, by its offsets: reading it would take CPU from what is measured."""

    def __init__(self, kafka: KafkaSettings, topic: str, committed: bool):
        """`committed`: as read_committed readers see it. Each transaction's end is an offset too, in each partition."""
        self._admin = AdminClient(client_config(kafka))
        self._partitions = [TopicPartition(topic, p) for p in range(partitions(kafka)[topic])]
        self._last = 0
        self._isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED

    def __call__(self) -> int:
        """How many offsets there are by now."""
        ask: Any = {partition: OffsetSpec.latest() for partition in self._partitions}
        futures = self._admin.list_offsets(ask, isolation_level=self._isolation)
        try:
            self._last = sum(future.result().offset for future in futures.values())
        except KafkaException as error:
            # A partition that was made just now may have no leader yet; whoever follows gives up after a minute.
            if error.args[0].code() not in _YOUNG:
                raise
        return self._last


def follow(
    count: Callable[[], int],
    measured: Measured,
    total: int,
    *,
    servers: Mapping[str, int] | None = None,
    stop_at: int | None = None,
    each: Callable[[Point], None] = lambda _: None,
) -> Followed:
    """Look until `total` are there and no more come, or, with `stop_at`, until that many are there.

    Raises:
        TransientError: a measured process ended, or nothing came for a minute.
    """
    processes = {name: psutil.Process(pid) for name, pid in (servers or {}).items()}
    followed = Followed()
    last, changed = 0, time.monotonic()
    while True:
        seen = count()
        now = time.monotonic()
        if seen > last:
            cpu = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
            point = Point(now, min(seen, total), measured.cpu_seconds(), cpu, measured.rss())
            followed.points.append(point)
            each(point)
            last, changed = seen, now
        if stop_at is not None and seen >= stop_at:
            return followed
        if seen >= total and now - changed > _QUIET_SECONDS:
            return followed
        measured.check()
        if now - changed > _SILENT_SECONDS:
            raise TransientError(f"{last:,} of {total:,} were answered, then nothing for {_SILENT_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)
