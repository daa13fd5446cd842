"""Where faults happen: a stack, transactions with a baseline of their answers, and cases with topics of their own."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil

from infra.feature_store import FeatureStore
from infra.hazelcast import connect
from infra.local import stack
from infra.local.registry import HAZELCAST, KAFKA, Registry, home_of
from infra.settings import Settings
from infra.transaction_sources import Records, encode
from scoring.feature_files import read_feature_files
from simulator.population import simulate_population, write_population
from simulator.transactions import Simulation
from tests.faults.case import Case, Report, gone
from tests.waiting import until
from verify.verification import Options

# Every so many rows one that cannot be scored, of two kinds: each small batch has a dead letter in its transaction.
BAD_EVERY = 100


class Rows:
    """Transactions in memory, as a source that can be sent from any row on."""

    def __init__(self, records: Records, identity: str):
        self._records, self.identity = records, identity
        self.total = len(records.values)

    @classmethod
    def simulated(cls, simulation: Simulation) -> "Rows":
        keys: list[bytes] = []
        values: list[bytes] = []
        for frame in simulation.frames():
            records = encode(frame)
            keys += records.keys
            values += records.values
        for row in range(BAD_EVERY // 2, len(values), BAD_EVERY):
            values[row] = b'{"cc_num": 41' if row % (2 * BAD_EVERY) < BAD_EVERY else _without_customer(values[row])
        return cls(Records(keys, values), f"faults-{len(values)}")

    def first(self, count: int, after: int = 0) -> "Rows":
        return Rows(self._records.part(after, after + count), f"faults-{after}-{count}")

    def records(self, skip: int = 0) -> Iterator[Records]:
        yield self._records.part(skip, self.total)


def _without_customer(value: bytes) -> bytes:
    start, end = value.index(b'"cc_num":') + len(b'"cc_num":'), value.index(b",")
    return value[:start] + b"4999999999999991" + value[end:]


class Arena:
    """One stack for many cases."""

    def __init__(self, settings: Settings, folder: Path, rows: int):
        self.settings = settings
        self._home = home_of(settings)
        self.folder = folder
        self.baseline = folder / "baseline.npz"
        self.population = folder / "population"
        made = simulate_population(2_000, 200, 1)
        write_population(made, self.population)
        self.rows = Rows.simulated(Simulation(made, rows, 1))
        self.reports: list[Report] = []

    @classmethod
    def beside(cls, other: "Arena", settings: Settings) -> "Arena":
        """Another stack for the same transactions, with the same baseline and the same list of reports."""
        arena = cls.__new__(cls)
        arena.__dict__.update(other.__dict__)
        arena.settings, arena._home = settings, home_of(settings)
        return arena

    def load_features(self) -> None:
        client = connect(self.settings.hazelcast)
        try:
            FeatureStore(client).load(read_feature_files(self.population))
        finally:
            client.shutdown()

    def calm_run(self) -> None:
        """Score everything once without any fault, and keep the answers."""
        self.load_features()
        with self.case("calm", "no fault: the baseline of all probabilities") as case:
            case.feed(self.rows.total)
            case.spawn("0", max_batch="10000")
            case.drain()
            case.judge(Options(drained=True, write_baseline=self.baseline, with_map=False))

    def mend(self) -> None:
        """Start what a case before has left dead, and load the features again where the members lost them."""
        for service in services():
            self.start(service)
        self.load_features()

    @contextmanager
    def case(self, name: str, what: str) -> Iterator[Case]:
        case = Case(self, Report(name, what))
        self.reports.append(case.report)
        try:
            yield case
        except BaseException as error:
            case.report.failure = f"{type(error).__name__}: {error}".splitlines()[0]
            raise
        finally:
            case.close()

    def process(self, name: str) -> psutil.Process:
        started = Registry(self._home).alive(name)
        assert started, f"{name} does not run"
        return psutil.Process(started.pid)

    def pid(self, name: str) -> int:
        return self.process(name).pid

    @staticmethod
    def signal(pid: int, number: signal.Signals) -> None:
        os.kill(pid, number)

    def kill(self, name: str) -> None:
        """Kill -9 a server of the stack, and wait until it is gone."""
        process = self.process(name)
        process.kill()
        until(lambda: gone(process), 20, f"the end of {name}")

    def start(self, service: str, members: int = 2) -> None:
        """Start again what was killed, at the same address."""
        stack.up(self.settings, members=members, services={service})


def services() -> set[str]:
    """What an arena needs."""
    return {KAFKA, HAZELCAST}


Scenario = Callable[[Case], None]


def together(arena: Arena, scenarios: dict[str, Scenario], at_once: int) -> None:
    """Run cases side by side, each with topics and scorers of its own: mostly they wait for sessions to end."""

    def run(name: str) -> None:
        with arena.case(name, (scenarios[name].__doc__ or name).strip()) as case:
            scenarios[name](case)
            case.judge()

    with ThreadPoolExecutor(at_once) as pool:
        for ended in [pool.submit(run, name) for name in scenarios]:
            ended.result()
