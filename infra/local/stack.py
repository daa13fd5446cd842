"""The local stack: Kafka, Hazelcast, Prefect's server and its worker, the dashboard, as processes of this machine.

`up` brings up what is not there, `down` leaves nothing behind. A Kafka, Hazelcast or Prefect
that the settings name is used instead, and nothing is started for it. `with_addresses` adds the addresses of
what runs to settings that were read before it ran.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path

import psutil

from infra import hazelcast, kafka
from infra.errors import FraudflowError, TerminalError, TransientError
from infra.local import dashboard_server, hazelcast_server, kafka_server, prefect_server, processes, runs
from infra.local.processes import Started
from infra.local.registry import DASHBOARD, HAZELCAST, KAFKA, PREFECT, WORKER, Registry, api_url, home_of
from infra.local.rest import PrefectApi
from infra.settings import Settings

SERVICES = (KAFKA, HAZELCAST, PREFECT, WORKER, DASHBOARD)

# Each is ready within 12 s on two idle cores. This is for a machine that does much else.
_START_SECONDS = 180.0
# Longer than any `up` takes that has nothing to download.
_LOCK_SECONDS = 300.0
_STOP_SECONDS = {KAFKA: 20.0, HAZELCAST: 10.0, PREFECT: 5.0, WORKER: 15.0, DASHBOARD: 5.0}
# A flow is given what Prefect gives it to drain.
_DRAIN_SECONDS = 30.0

Progress = Callable[[str], None]


def with_addresses(settings: Settings) -> Settings:
    """A copy of the settings with the addresses of the running stack where they name none themselves."""
    found = Registry(home_of(settings)).settings
    copy = settings.model_copy(deep=True)
    brokers, members = found.get(KAFKA, {}).get("bootstrap_servers"), found.get(HAZELCAST, {}).get("members")
    copy.kafka.bootstrap_servers = copy.kafka.bootstrap_servers or brokers
    copy.hazelcast.members = copy.hazelcast.members or members
    copy.prefect_api_url = copy.prefect_api_url or found.get("prefect_api_url")
    copy.dashboard_url = copy.dashboard_url or found.get("dashboard_url")
    return copy


def up(
    settings: Settings,
    *,
    members: int | None = None,
    services: Collection[str] = SERVICES,
    progress: Progress = lambda _: None,
) -> None:
    """Bring up the services that are not there, keep those that are, and return when all of them answer.

    Args:
        settings: what they name is used and not started.
        members: Hazelcast members, in place of the settings' number.
        services: which of them; the worker needs a Prefect server, which is brought up with it.
        progress: told what happens, one line at a time.

    Raises:
        TerminalError: a port is taken, or a server ended at its start; the message has the end of its log.
        TransientError: something did not answer in time.
    """
    home = home_of(settings)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(home, progress):
        _Up(settings, home, members or settings.local.members, services, progress).run()


def down(settings: Settings, *, progress: Progress = lambda _: None) -> list[str]:
    """Stop everything of this stack, flow runs first. Returns the names of what was stopped."""
    home = home_of(settings)
    if not home.is_dir():
        return []
    with _locked(home, progress):
        return _down(settings, home, progress)


class _Up:
    """One `up`, with what its steps share."""

    def __init__(self, settings: Settings, home: Path, members: int, services: Collection[str], progress: Progress):
        self._settings, self._home, self._members = settings, home, members
        self._services = set(services)
        self._registry = Registry(home)
        self._named = self._registry.named(settings)
        self._stopping = threading.Event()
        self._progress = progress

    def run(self) -> None:
        self._end_orphans()
        steps: dict[str, Callable[[], None]] = {
            KAFKA: self._external_kafka if KAFKA in self._named else self._kafka,
            HAZELCAST: self._external_hazelcast if HAZELCAST in self._named else self._hazelcast,
            PREFECT: self._external_prefect if PREFECT in self._named else self._prefect,
        }
        wanted = self._services | ({PREFECT} if WORKER in self._services else set())
        self._together([step for name, step in steps.items() if name in wanted])
        # After the others, whose addresses they find in stack.json: a run may be waiting in the queue.
        later = {WORKER: self._flows, DASHBOARD: self._dashboard}
        self._together([step for name, step in later.items() if name in wanted])

    def _together(self, steps: Sequence[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(len(steps) or 1, thread_name_prefix="up") as pool:
            futures: list[Future[None]] = [pool.submit(step) for step in steps]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            finally:
                # Told when one failed, or on Ctrl-C: the rest has then no need to wait for an answer.
                if any(not future.done() or future.exception() for future in futures):
                    self._stopping.set()

    def _ready(self, started: Started, answers: Callable[[], bool]) -> None:
        processes.wait_until(answers, started, home=self._home, seconds=_START_SECONDS, stopping=self._stopping)

    def _stop_silent(self, started: Started, service: str) -> None:
        """Make room for a new one where a process runs and does not answer."""
        process = processes.find(started, self._home)
        if process:
            self._progress(f"{started.name} runs as pid {process.pid} and does not answer: starting it anew")
            processes.stop([process], grace_seconds=_STOP_SECONDS[service])

    def _restart_worker(self, worker: Started, api: PrefectApi) -> Started | None:
        """Make room for a worker with today's settings, which its flows inherit; not under a flow that runs."""
        process = processes.find(worker, self._home)
        if runs.live(api) or not process:
            self._progress("The worker keeps the settings it was started with, because flow runs are live")
            return worker
        self._progress("The settings changed: starting the worker anew")
        processes.stop([process], grace_seconds=_STOP_SECONDS[WORKER])
        return None

    def _kafka(self) -> None:
        began = time.monotonic()
        started = self._registry.alive(KAFKA)
        if started and _patiently(lambda at=started.address: kafka_server.answers(at)):
            self._progress(f"Kafka is up at {started.address}")
        else:
            if started:
                self._stop_silent(started, KAFKA)
            last = self._registry.started(KAFKA)
            started = self._registry.add(
                kafka_server.start(
                    self._settings.local, self._home, previous=last and last.address, progress=self._progress
                )
            )
            address = started.address
            self._ready(started, lambda: kafka_server.answers(address))
            self._progress(f"Kafka ready at {address} ({time.monotonic() - began:.1f} s)")
        self._registry.publish(kafka={"bootstrap_servers": started.address})

    def _hazelcast(self) -> None:
        began = time.monotonic()
        cluster, local = self._settings.hazelcast.cluster_name, self._settings.local
        last = _members_of(self._registry)
        running = {n: p.address for n, p in last.items() if processes.find(p, self._home)}
        # The highest number that runs, not how many do: when the first of two died, the second has the data.
        count = max([self._members, *running])
        addresses = hazelcast_server.addresses(
            local.hazelcast_port, count, running, {n: p.address for n, p in last.items()}
        )
        kept, fresh = [], []
        for number in range(1, count + 1):
            name = hazelcast_server.name(number)
            started = self._registry.alive(name)
            if started and _patiently(lambda at=started.address: hazelcast_server.answers(at, cluster)):
                kept.append(started)
                continue
            if started:
                self._stop_silent(started, HAZELCAST)
            fresh.append(number)
        new = [
            self._registry.add(hazelcast_server.start(self._settings, self._home, number, addresses, self._progress))
            for number in fresh
        ]
        for started in new:
            at = started.address
            self._ready(started, lambda at=at: hazelcast_server.answers(at, cluster, members=count))
        for started in kept:
            self._progress(f"Hazelcast is up at {started.address}")
        for started in new:
            self._progress(f"Hazelcast ready at {started.address} ({time.monotonic() - began:.1f} s)")
        self._registry.publish(hazelcast={"members": addresses})

    def _prefect(self) -> None:
        began = time.monotonic()
        started = self._registry.alive(PREFECT)
        if started and _patiently(PrefectApi(api_url(started.address)).healthy):
            self._progress(f"Prefect is up at http://{started.address}")
        else:
            if started:
                self._stop_silent(started, PREFECT)
            last = self._registry.started(PREFECT)
            started = self._registry.add(
                prefect_server.start_server(self._settings.local, self._home, previous=last and last.address)
            )
            self._ready(started, PrefectApi(api_url(started.address)).healthy)
            self._progress(f"Prefect ready at http://{started.address} ({time.monotonic() - began:.1f} s)")
        self._registry.publish(prefect_api_url=api_url(started.address))

    def _flows(self) -> None:
        own_server = PREFECT not in self._named
        url = self._registry.settings["prefect_api_url"] if own_server else str(self._settings.prefect_api_url)
        api = PrefectApi(url)
        worker = self._registry.alive(WORKER)
        if worker and worker.address != url:
            self._stop_silent(worker, WORKER)
            worker = None
        runs.ensure_pool(api)
        if worker and not prefect_server.same_settings(worker, url, self._home, own_server=own_server):
            worker = self._restart_worker(worker, api)
        if own_server:
            # Before a worker can begin what these hold up.
            for name in runs.sweep(api, self._home, worker_alive=worker is not None):
                self._progress(f"Flow run {name} had no process any more: marked as crashed")

        def deployments() -> None:
            began = time.monotonic()
            if prefect_server.deploy(url, self._home, own_server=own_server):
                self._progress(f"Deployments registered ({time.monotonic() - began:.1f} s)")
            for name in runs.ensure_automations(api):
                self._progress(f"Automation made: {name}")

        def start_worker() -> None:
            if worker:
                self._progress(f"Worker is up (pid {worker.pid})")
                return
            began, since = time.monotonic(), time.time()
            started = self._registry.add(prefect_server.start_worker(url, self._home, own_server=own_server))
            self._ready(started, lambda: prefect_server.worker_answers(url, self._home, since))
            self._progress(f"Worker ready for work pool {runs.POOL} ({time.monotonic() - began:.1f} s)")

        self._together([deployments, start_worker])

    def _dashboard(self) -> None:
        began = time.monotonic()
        if not dashboard_server.installed():
            self._progress("No dashboard: the extra `dashboard` is not installed")
            return
        started = self._registry.alive(DASHBOARD)
        if started and _patiently(lambda at=started.address: dashboard_server.answers(at)):
            self._progress(f"Dashboard is up at {dashboard_server.url(started.address)}")
        else:
            if started:
                self._stop_silent(started, DASHBOARD)
            last = self._registry.started(DASHBOARD)
            started = self._registry.add(
                dashboard_server.start(self._settings, self._home, previous=last and last.address)
            )
            address = started.address
            self._ready(started, lambda: dashboard_server.answers(address))
            took = time.monotonic() - began
            self._progress(f"Dashboard ready at {dashboard_server.url(started.address)} ({took:.1f} s)")
        self._registry.publish(dashboard_url=dashboard_server.url(started.address))

    def _external_kafka(self) -> None:
        kafka.partitions(self._settings.kafka)
        self._progress(f"Kafka at {self._settings.kafka.bootstrap_servers} is used, as the settings say")

    def _external_hazelcast(self) -> None:
        hazelcast.connect(self._settings.hazelcast).shutdown()
        self._progress(f"Hazelcast at {self._settings.hazelcast.members} is used, as the settings say")

    def _external_prefect(self) -> None:
        PrefectApi(str(self._settings.prefect_api_url)).get("/health")
        self._progress(f"Prefect at {self._settings.prefect_api_url} is used, as the settings say")

    def _end_orphans(self) -> None:
        """End what a killed `up` or a killed worker left behind, before it stands in the way."""
        orphans = _orphans(self._registry, self._home)
        if orphans:
            self._progress(f"Ending {len(orphans)} processes that were left behind")
            processes.stop(orphans, grace_seconds=_DRAIN_SECONDS)


def _down(settings: Settings, home: Path, progress: Progress) -> list[str]:
    registry = Registry(home)
    stopped = []

    def stop(service: str, names: Sequence[str]) -> None:
        found = [process for name in names if (p := registry.started(name)) and (process := processes.find(p, home))]
        if found:
            began = time.monotonic()
            processes.stop(found, grace_seconds=_STOP_SECONDS[service])
            stopped.extend(name for name in names if registry.started(name))
            progress(f"Stopped {', '.join(names)} ({time.monotonic() - began:.1f} s)")

    worker, server = registry.alive(WORKER), registry.alive(PREFECT)
    own_server = PREFECT not in registry.named(settings)
    url = worker.address if worker else api_url(server.address) if server else None
    api = _serving(url, progress) if url else None
    if api and worker:
        # From inside a flow, this very run goes on: it is what takes the stack down.
        this = os.environ.get("PREFECT__FLOW_RUN_ID")
        with _going_on(progress):
            runs.cancel_all(api, home, shared=not own_server, but=this, progress=progress)
    stop(DASHBOARD, [DASHBOARD])
    stop(WORKER, [WORKER])
    flows = _orphans(registry, home)
    if flows:
        progress(f"Ending {len(flows)} processes of flows")
        processes.stop(flows, grace_seconds=_DRAIN_SECONDS)
    if api and own_server:
        with _going_on(progress):
            runs.end_all(api)
    stop(PREFECT, [PREFECT])
    stop(HAZELCAST, [p.name for p in _members_of(registry).values() if processes.find(p, home)])
    stop(KAFKA, [KAFKA])
    processes.stop(processes.marked(home), grace_seconds=2)
    registry.remove()
    return stopped


def _serving(url: str, progress: Progress) -> PrefectApi | None:
    """Prefect's server at that address; None if it is away, or refuses us."""
    api = PrefectApi(url)
    try:
        if api.healthy():
            return api
        why = f"Prefect at {url} does not answer"
    except TerminalError as error:
        why = str(error)
    progress(f"{why}: its flow runs are ended without it")
    return None


@contextlib.contextmanager
def _going_on(progress: Callable[[str], None]) -> Iterator[None]:
    """What Prefect's server cannot do is told, and leaves no process behind: the next `up` sets its runs right."""
    try:
        yield
    except FraudflowError as error:
        progress(f"{error}: going on without it")


def _orphans(registry: Registry, home: Path) -> list[psutil.Process]:
    """Processes of this stack that no living service of the record started."""
    known = set()
    for started in registry.all():
        process = processes.find(started, home)
        if process:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now
                known |= {process.pid, *(child.pid for child in process.children(recursive=True))}
    return [process for process in processes.marked(home) if process.pid not in known]


def _members_of(registry: Registry) -> dict[int, Started]:
    """The records of Hazelcast's members, running or dead, by number."""
    return {hazelcast_server.number(p.name): p for p in registry.all() if p.name.startswith(f"{HAZELCAST}-")}


def _patiently(answers: Callable[[], bool]) -> bool:
    """Whether it answers within a few attempts: a busy machine is no reason to restart a server."""
    return any(answers() or time.sleep(0.5) for _ in range(5))


@contextlib.contextmanager
def _locked(home: Path, progress: Progress) -> Iterator[None]:
    """Let one `up` or `down` work on a stack at a time. The kernel frees the lock of one that was killed."""
    with (home / "lock").open("w") as file:
        deadline = time.monotonic() + _LOCK_SECONDS
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise TransientError(f"another `up` or `down` has held {home} for {_LOCK_SECONDS:.0f} s") from error
                if not told:
                    progress("Another `up` or `down` is under way: waiting for it")
                    told = True
                time.sleep(0.1)
        yield
