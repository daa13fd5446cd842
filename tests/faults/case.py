"""One case: topics of its own, scorers to which faults happen, and what is found out about them afterwards."""

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING

import psutil
from confluent_kafka import KafkaError, Producer
from hazelcast.errors import HazelcastError

from infra.errors import FraudflowError, TransientError
from infra.group_reader import GroupReader
from infra.hazelcast import connect
from infra.kafka import client_config, delete_topics, ensure_topics, group_members, partitions, topic_names
from infra.projection import Projection, ensure_projection
from infra.seeding import seed
from infra.settings import Topics
from tests.conftest import PROJECT, environment
from tests.faults import mutations, plan
from tests.faults.plan import RELEASES_VARIABLE, TARGET_VARIABLE
from tests.waiting import until
from verify.verdict import Verdict
from verify.verification import Options, verify
from verify.watch import OffsetWatch

if TYPE_CHECKING:
    from tests.faults.arena import Arena

SMALL_BATCH = "200"
DRAIN_SECONDS = 120.0


@dataclass
class Report:
    """What a case says of itself, for the results."""

    case: str
    what: str
    verdict: Verdict | None = None
    kills: int = 0
    faults: int = 0
    standstill: float = 0.0
    recovery: float | None = None
    seconds: float = 0.0
    failure: str = ""
    mutation: str = ""


@dataclass
class Case:
    """One case: fresh topics, a group, scorers, and somebody who watches the offsets meanwhile."""

    arena: "Arena"
    report: Report
    scorers: dict[str, subprocess.Popen] = field(default_factory=dict)
    drain_seconds: float = DRAIN_SECONDS
    address: str = ""
    """Where its scorers find the broker, if not where everybody else does."""

    def __post_init__(self) -> None:
        own = uuid.uuid4().hex[:8]
        self.settings = self.arena.settings.model_copy(deep=True)
        self.settings.kafka.topics = Topics(**{field: f"{name}-{own}" for field, name in Topics().model_dump().items()})
        self.settings.scoring.group_id = f"faults-{own}"
        ensure_topics(self.settings.kafka)
        until(lambda: len(partitions(self.settings.kafka)) == len(Topics.model_fields), what="the new topics")
        self._began = time.monotonic()
        self._log = self.arena.folder / f"{self.report.case}-{own}.log"
        self._releases = self.arena.folder / f"{self.report.case}-{own}.releases"
        self._releases.mkdir()
        self._started: list[subprocess.Popen] = []
        self._feeders: list[threading.Thread] = []
        self._refused: list[FraudflowError] = []
        self._fed = 0
        self._stop = threading.Event()
        self._watcher = OffsetWatch(self.settings)  # before anything is answered: it sees what comes after it
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    # What happens in a case

    def feed(self, rows: int, rate: float | None = None) -> None:
        """Send the next rows; with a rate, meanwhile. A broker that is away is waited for.

        A card's past is in its probability: only rows in the order of the calm run have its answers.
        """
        source, name = self.arena.rows.first(rows, after=self._fed), uuid.uuid4().hex
        self._fed += source.total

        def send() -> None:
            while not self._stop.is_set():
                try:
                    seed(self.settings.kafka, source, name, rate=rate)
                except TransientError:
                    time.sleep(0.5)
                except FraudflowError as error:
                    self._refused.append(error)
                    return
                else:
                    return

        self._feeders.append(threading.Thread(target=send, daemon=True))
        self._feeders[-1].start()
        if rate is None:
            self._feeders[-1].join()

    def stream(self, rows: int, rate: float) -> None:
        """Send the next rows meanwhile, without transactions: a seeding's may hang for longer than a scorer's."""
        source = self.arena.rows.first(rows, after=self._fed)
        self._fed += source.total
        producer = self._producer({"enable.idempotence": "true"})

        def send() -> None:
            began, sent = time.monotonic(), 0
            for records in source.records():
                for key, value in zip(records.keys, records.values, strict=True):
                    if self._stop.wait(max(began + sent / rate - time.monotonic(), 0)):
                        return
                    producer.produce(self.settings.kafka.topics.transactions, value, key)
                    sent += 1
            producer.flush()

        self._feeders.append(threading.Thread(target=send, daemon=True))
        self._feeders[-1].start()

    def sent(self, seconds: float) -> None:
        """Wait until what is fed is in the topic."""
        for feeder in self._feeders:
            feeder.join(seconds)
            if feeder.is_alive():
                stands = traceback.format_stack(sys._current_frames()[feeder.ident])
                raise AssertionError(
                    f"the transactions were not sent in time: {' '.join(stands[-3:]).replace(f'{PROJECT}/', '')}"
                )

    def feed_and_abort(self, rows: int) -> None:
        """Send rows in a transaction that is aborted: no reader may see them."""
        producer = self._producer({"transactional.id": uuid.uuid4().hex})
        producer.init_transactions(30)
        producer.begin_transaction()
        self._produce(producer, rows)
        producer.abort_transaction(30)

    def feed_with_clocks_wrong(self, rows: int) -> None:
        """Send the next rows, as created a day ago and a day from now in turn."""
        now, day = int(time.time() * 1000), 86_400_000
        self._produce(self._producer({}), rows, (now - day, now + day))
        self._fed += rows

    def _producer(self, more: dict[str, str]) -> Producer:
        return Producer(client_config(self.settings.kafka) | {"partitioner": "murmur2_random"} | more)

    def _produce(self, producer: Producer, rows: int, created: tuple[int, ...] = (0,)) -> None:
        """Send the next rows, created at these milliseconds since 1970 in turn; 0 is now."""
        failures: list[KafkaError] = []
        for records in self.arena.rows.first(rows, after=self._fed).records():
            for key, value, at in zip(records.keys, records.values, cycle(created)):
                producer.produce(
                    self.settings.kafka.topics.transactions, value, key, timestamp=at,
                    on_delivery=lambda error, _: failures.append(error) if error else None,
                )  # fmt: skip
        assert (producer.flush(30), failures) == (0, [])

    def project(self) -> None:
        """Fill predictionResult from this case's topic alone."""
        client = connect(self.settings.hazelcast)
        try:
            Projection(client, self.settings).rebuild()
        finally:
            client.shutdown()

    def projected(self) -> None:
        """Look for the projection's jobs as those who score or supervise do, until they are there."""

        def there() -> bool:
            try:
                ensure_projection(self.settings)
            except (FraudflowError, HazelcastError):
                return False
            return True

        until(there, 60, "the projection")

    def spawn(self, slot: str, faults: str = "", max_batch: str = SMALL_BATCH, target: int | None = None):
        """Start a scorer; it takes the test run for its supervisor, so that it ends with it."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.worker", "--slot", slot, "--supervised"],
                env=os.environ
                | environment(self.settings)
                | {
                    "FRAUDFLOW_SCORING__MAX_BATCH": max_batch,
                    plan.VARIABLE: faults,
                    mutations.VARIABLE: self.report.mutation,
                    TARGET_VARIABLE: str(target or ""),
                    RELEASES_VARIABLE: str(self._releases),
                }
                | ({"FRAUDFLOW_KAFKA__BOOTSTRAP_SERVERS": self.address} if self.address else {}),
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.scorers[slot] = process
        self._started.append(process)
        return process

    def kill(self, slot: str) -> None:
        process = self.scorers.pop(slot)
        process.kill()
        process.wait()
        self.report.kills += 1

    def killed(self, slot: str, seconds: float = 60) -> None:
        """Wait until a scorer has killed itself, as its plan says."""
        code = self.scorers.pop(slot).wait(seconds)
        assert code == -signal.SIGKILL, f"the scorer ended with {code}"
        self.report.kills += 1

    def signal(self, slot: str, number: signal.Signals) -> None:
        self.scorers[slot].send_signal(number)
        self.report.faults += 1

    def stopped(self, pid: int, seconds: float = 60) -> None:
        """Wait until a process stands still."""
        process = psutil.Process(pid)
        until(lambda: process.status() == psutil.STATUS_STOPPED, seconds, f"SIGSTOP of {pid}")
        self.report.faults += 1

    def release(self, point: str) -> None:
        """Let the scorers go on that `hold` at this point, or come to it later."""
        (self._releases / point).touch()
        self.report.faults += 1

    def terminate(self, slot: str, seconds: float = 10) -> float:
        """SIGTERM; it must end with code 0. Returns how long that took."""
        began = time.monotonic()
        process = self.scorers.pop(slot)
        process.terminate()
        assert process.wait(seconds) == 0
        self.report.faults += 1
        return time.monotonic() - began

    def answered(self, more_than: int, seconds: float = 60) -> None:
        """Wait until so many source offsets have answers that readers can see."""
        until(lambda: self._answered > more_than, seconds, f"more than {more_than} answers")

    def recovered(self) -> None:
        """Wait until readers see a new answer, and report how long that took from here: what was away is back."""
        began, before = time.monotonic(), self._answered
        self.answered(before)
        self.report.recovery = max(self.report.recovery or 0.0, time.monotonic() - began)

    def members(self, count: int) -> None:
        """Wait until so many scorers are in the group."""
        group_id = self.settings.scoring.group_id
        until(lambda: group_members(self.settings.kafka, group_id) == count, what=f"{count} scorers in the group")

    def settled(self) -> int:
        """Wait until readers have seen what there is to be seen while nobody scores; the progress then."""
        since, progress = time.monotonic(), self._answered

        def still() -> bool:
            nonlocal since, progress
            if self._answered > progress:
                since, progress = time.monotonic(), self._answered
            return time.monotonic() - since > 2

        until(still, 30, "a standstill")
        return progress

    @property
    def progress(self) -> int:
        """Grows with the answers that readers can see."""
        return self._answered

    def drain(self) -> None:
        """Wait until everything was sent and the group has committed all of it."""
        deadline = time.monotonic() + self.drain_seconds
        for feeder in self._feeders:
            feeder.join(max(0.1, deadline - time.monotonic()))
            assert not feeder.is_alive(), "the transactions were not sent in time"
        assert not self._refused, f"the transactions could not be sent: {self._refused}"
        group = GroupReader(
            self.settings.kafka, self.settings.scoring.group_id, self.settings.kafka.topics.transactions
        )
        try:
            until(lambda: _drained(group), max(1, deadline - time.monotonic()), "all input scored")
        except AssertionError as error:
            raise AssertionError(f"{error}; {self._answered:,} answered, {_lag(group)}") from error
        finally:
            group.close()

    def judge(self, options: Options | None = None) -> Verdict:
        """Stop the scorers and verify; fails with the first offenders of every invariant that does not hold."""
        for slot in list(self.scorers):
            self.scorers.pop(slot).terminate()
        for process in self._started:
            process.wait(30)
        self._stop.set()
        self._watching.join(150)
        options = options or Options(drained=True, against=self.arena.baseline, with_map=False)
        verdict = verify(self.settings, options)
        verdict.merge(self._watcher.check)
        self.report.verdict = verdict
        self.report.seconds = time.monotonic() - self._began
        broken = [
            f"{c.letter}: {c.violations} ({'; '.join(c.offenders)})" for c in verdict.checks if c.state == "violated"
        ]
        assert not broken, " | ".join(broken)
        assert verdict.counts["transactions"] == self._fed, "the input itself is not complete"
        return verdict

    def close(self) -> None:
        self._stop.set()
        for process in self._started:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        self._watching.join(150)
        for feeder in self._feeders:
            feeder.join(60)
        with suppress(FraudflowError):  # the stack goes with the run; only the disk would have liked it
            delete_topics(self.settings.kafka, topic_names(self.settings.kafka))

    # Beside it

    _answered: int = 0

    def _watch(self) -> None:
        """Invariant E at every moment, and how long readers saw nothing new while there was something to score."""
        watcher = self._watcher
        moved = time.monotonic()
        try:
            while not self._stop.is_set():
                try:
                    watcher.look()
                except FraudflowError:  # the broker is away
                    self._stop.wait(0.2)
                if watcher.answered > self._answered:
                    if self._answered:
                        self.report.standstill = max(self.report.standstill, time.monotonic() - moved)
                    self._answered, moved = watcher.answered, time.monotonic()
                self._stop.wait(0.02)
        finally:
            watcher.close()


def gone(process: psutil.Process) -> bool:
    """Whether it ended; its parent may not have looked yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _drained(group: GroupReader) -> bool:
    try:
        return group.drained()
    except FraudflowError:  # the broker is away, or its answer went down with it
        return False


def _lag(group: GroupReader) -> str:
    try:
        return f"lag {group.lag():,}"
    except FraudflowError as error:
        return f"no lag: {error}"
