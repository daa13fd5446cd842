"""Faults inside a scorer, at exact points of the loop, without a hook in it.

`install` puts subclasses of confluent-kafka's clients in the place of those that the loop uses. They act when the
loop makes its calls: `kill@after_offsets:3` is a kill -9 of this process when its third transaction has its offsets.

Points, in the order of a batch: `before_consume` (one message was polled), `before_metadata` (the batch is scored),
`before_begin`, `after_begin`, `after_produce` (everything is on the broker), `after_offsets`, `in_commit` (the commit
is under way), `after_commit`.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

import scoring.consumer
import scoring.producer

POINTS = (
    "before_consume",
    "before_metadata",
    "before_begin",
    "after_begin",
    "after_produce",
    "after_offsets",
    "in_commit",
    "after_commit",
)
VARIABLE = "FAULTS"
# The process that `freeze` stops: the broker.
TARGET_VARIABLE = "FAULT_TARGET"
# The folder where `hold` waits for a file with its point's name.
RELEASES_VARIABLE = "FAULT_RELEASES"


@dataclass(frozen=True)
class Fault:
    """`ACTION@POINT:N[:MILLISECONDS]`: at the Nth time that the loop comes to a point."""

    action: str
    point: str
    turn: int
    milliseconds: int = 0

    @classmethod
    def parse(cls, text: str) -> "Fault":
        action, _, rest = text.partition("@")
        point, turn, *milliseconds = rest.split(":")
        assert point in POINTS, point
        return cls(action, point, int(turn), int(milliseconds[0]) if milliseconds else 0)

    def act(self) -> None:
        if self.action == "sleep":
            time.sleep(self.milliseconds / 1000)
        elif self.action == "hold":
            while not (Path(os.environ[RELEASES_VARIABLE]) / self.point).exists():
                time.sleep(0.02)
        elif self.action == "abort":
            # As librdkafka tells an error after which the transaction can only be aborted.
            raise KafkaException(KafkaError(KafkaError._INTR, "injected", False, False, True))
        elif self.action == "freeze":
            os.kill(int(os.environ[TARGET_VARIABLE]), signal.SIGSTOP)
        else:
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[self.action])


CLOCK_JUMPS = "clock jumps"
"""In the place of a fault: the wall clock as Python tells it is an hour ahead in every other second."""
_JUMP_SECONDS = 3_600


class Plan:
    """The faults of this process, and how often each point was reached."""

    def __init__(self) -> None:
        parts = [part for part in os.environ.get(VARIABLE, "").split(",") if part]
        self.clock_jumps = CLOCK_JUMPS in parts
        self._faults = [Fault.parse(part) for part in parts if part != CLOCK_JUMPS]
        self._turns: Counter[str] = Counter()

    def reach(self, point: str) -> list[Fault]:
        """Count the point; the faults that are due at it."""
        self._turns[point] += 1
        return [fault for fault in self._faults if (fault.point, fault.turn) == (point, self._turns[point])]

    def act(self, point: str) -> None:
        for fault in self.reach(point):
            fault.act()


plan = Plan()
# Settings of librdkafka's consumer that a mutation changes.
consumer_overrides: dict[str, Any] = {}


class FaultyProducer(Producer):
    def begin_transaction(self) -> None:
        plan.act("before_begin")
        super().begin_transaction()
        plan.act("after_begin")

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        due = plan.reach("after_produce")
        if due:
            self.flush(10)
        for fault in due:
            fault.act()
        super().send_offsets_to_transaction(*arguments)
        plan.act("after_offsets")

    def commit_transaction(self, *arguments: Any) -> None:
        due = plan.reach("in_commit")
        if due:
            self.flush(10)
        for fault in due:
            if fault.milliseconds:
                threading.Timer(fault.milliseconds / 1000, fault.act).start()
            else:
                fault.act()
        super().commit_transaction(*arguments)
        plan.act("after_commit")


class FaultyConsumer(Consumer):
    def __init__(self, config: dict[str, Any]):
        super().__init__(config | consumer_overrides)

    def consume(self, *arguments: Any) -> list[Any]:
        plan.act("before_consume")
        return super().consume(*arguments)

    def consumer_group_metadata(self) -> Any:
        plan.act("before_metadata")
        return super().consumer_group_metadata()


def install() -> None:
    """Make the loop of this process use the faulty clients."""
    assert scoring.producer.Producer is Producer
    assert scoring.consumer.Consumer is Consumer
    scoring.producer.Producer = FaultyProducer
    scoring.consumer.Consumer = FaultyConsumer
    if plan.clock_jumps:
        time.time = _jumping_clock(time.time)


def _jumping_clock(clock: Callable[[], float]) -> Callable[[], float]:
    return lambda: clock() + _JUMP_SECONDS * (int(clock()) % 2)
