"""How each service of the local stack is, asked now."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra import hazelcast, kafka
from infra.errors import FraudflowError
from infra.local import dashboard_server, hazelcast_server, kafka_server, prefect_server, processes
from infra.local.processes import Started
from infra.local.registry import DASHBOARD, HAZELCAST, KAFKA, PREFECT, WORKER, Registry, api_url, home_of
from infra.local.rest import PrefectApi
from infra.settings import Settings


@dataclass(frozen=True)
class ServiceStatus:
    """How one service is."""

    name: str
    state: str
    """running, unhealthy (its process is there and does not answer), dead (it ended by itself), stopped, or
    external (the settings name one; `detail` says whether it answers)."""
    address: str
    pid: int | None
    detail: str

    @property
    def well(self) -> bool:
        """Whether it answers."""
        return self.state == "running" or (self.state == "external" and self.detail == _ANSWERS)

    @property
    def ill(self) -> bool:
        """Whether it should answer and does not."""
        return not self.well and self.state != "stopped"


_ANSWERS = "answers"


def status_of(settings: Settings) -> list[ServiceStatus]:
    """All services, those included that the settings name."""
    home = home_of(settings)
    registry = Registry(home)
    return [
        *_status_kafka(settings, home, registry),
        *_status_hazelcast(settings, home, registry),
        *_status_prefect(settings, home, registry),
        _local(registry, home, DASHBOARD, lambda started: dashboard_server.answers(started.address)),
    ]


def _status_kafka(settings: Settings, home: Path, registry: Registry) -> list[ServiceStatus]:
    if KAFKA in registry.named(settings):
        return [_external(KAFKA, str(settings.kafka.bootstrap_servers), lambda: kafka.partitions(settings.kafka))]
    return [_local(registry, home, KAFKA, lambda started: kafka_server.answers(started.address))]


def _status_hazelcast(settings: Settings, home: Path, registry: Registry) -> list[ServiceStatus]:
    if HAZELCAST in registry.named(settings):
        return [
            _external(
                HAZELCAST,
                ", ".join(settings.hazelcast.members or []),
                lambda: hazelcast.connect(settings.hazelcast).shutdown(),
            )
        ]
    names = [p.name for p in registry.all() if p.name.startswith(f"{HAZELCAST}-")] or [hazelcast_server.name(1)]
    cluster = settings.hazelcast.cluster_name
    return [
        _local(registry, home, name, lambda started: hazelcast_server.answers(started.address, cluster))
        for name in names
    ]


def _status_prefect(settings: Settings, home: Path, registry: Registry) -> list[ServiceStatus]:
    def healthy(started: Started) -> bool:
        return PrefectApi(api_url(started.address)).healthy()

    def works(started: Started) -> bool:
        # Three of its heartbeats, which come every 30 s.
        return prefect_server.worker_answers(started.address, home, time.time() - 90)

    if PREFECT in registry.named(settings):
        url = str(settings.prefect_api_url)
        server = _external(PREFECT, url, lambda: PrefectApi(url).get("/health"))
    else:
        server = _local(registry, home, PREFECT, healthy)
    return [server, _local(registry, home, WORKER, works)]


def _external(name: str, address: str, ask: Callable[[], object]) -> ServiceStatus:
    try:
        ask()
    except FraudflowError as error:
        return ServiceStatus(name, "external", address, None, str(error))
    return ServiceStatus(name, "external", address, None, _ANSWERS)


def _local(registry: Registry, home: Path, name: str, answers: Callable[[Started], bool]) -> ServiceStatus:
    started = registry.started(name)
    if not started:
        return ServiceStatus(name, "stopped", "", None, "")
    if not processes.find(started, home):
        return ServiceStatus(name, "dead", started.address, None, f"it ended by itself: see {started.log}")
    try:
        good = answers(started)
    except FraudflowError as error:
        return ServiceStatus(name, "unhealthy", started.address, started.pid, str(error))
    if not good:
        return ServiceStatus(name, "unhealthy", started.address, started.pid, f"it does not answer: see {started.log}")
    return ServiceStatus(name, "running", started.address, started.pid, "")
