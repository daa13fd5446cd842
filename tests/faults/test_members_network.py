"""Hazelcast behind networks that are slow, break, and come apart between its members."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from infra.errors import TransientError
from infra.hazelcast import connect
from infra.local import hazelcast_server, ports, processes, stack
from infra.local.guard import guarded
from infra.local.registry import HAZELCAST
from infra.settings import Settings
from tests.faults.arena import Arena
from tests.faults.network import MemberNetwork
from tests.servers import local
from tests.waiting import until
from verify.verification import Options

pytestmark = [pytest.mark.faults, pytest.mark.server]

_PARTED_SECONDS = 30.0


@pytest.fixture(scope="module")
def networks() -> Iterator[list[MemberNetwork]]:
    """The way to each of two members."""
    with ExitStack() as open_ones:
        yield [open_ones.enter_context(MemberNetwork(ports.choose(0, setting=""))) for _ in range(2)]


@pytest.fixture(scope="module")
def far_home(networks: list[MemberNetwork], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Two members that everybody, the other one too, reaches by their networks alone."""
    home = tmp_path_factory.mktemp("far-members")
    addresses = [f"{ports.HOST}:{network.upstream}" for network in networks]

    def spawn(name: str, command: list[str], **rest: Any) -> processes.Started:
        network = networks[hazelcast_server.number(name) - 1]
        far = ",".join(each.address for each in networks)
        options = [f"-Dfraudflow.members={far}" if "fraudflow.members=" in part else part for part in command]
        options.insert(1, f"-Dhazelcast.local.publicAddress={network.address}")
        return processes.spawn(name, options, **rest)

    with pytest.MonkeyPatch.context() as patch, guarded(home):
        patch.setattr(hazelcast_server, "spawn", spawn)
        patch.setattr(hazelcast_server, "addresses", lambda *_: addresses)
        settings = Settings(local=local(home, members=2))
        stack.up(settings, members=2, services={HAZELCAST})
        yield settings


@pytest.fixture
def far(arena: Arena, far_home: Settings, networks: list[MemberNetwork]) -> Iterator[Arena]:
    """The same broker and transactions, beside those members."""
    settings = far_home.model_copy(update={"kafka": arena.settings.kafka}, deep=True)
    settings.hazelcast.members = [network.address for network in networks]
    beside = Arena.beside(arena, settings)
    beside.load_features()
    yield beside
    for network in networks:
        network.mend()


def test_slow(far: Arena, networks: list[MemberNetwork]):
    with far.case("slow_hazelcast", "everything to, from and between two members takes 100 ms longer") as case:
        for network in networks:
            network.slow(0.1)
            case.report.faults += 1
        case.project()
        case.feed(10_000, rate=1_000)
        case.spawn("0")
        case.spawn("1")
        case.drain()
        case.judge(Options(drained=True, against=far.baseline))


def test_connections_break(far: Arena, networks: list[MemberNetwork]):
    what = "all connections to and between two members break, once a second, twenty times"
    with far.case("hazelcast_connections_break", what) as case:
        case.project()
        case.feed(20_000, rate=1_000)
        case.spawn("0")
        case.answered(1_000)
        case.spawn("1")
        for _ in range(20):
            for network in networks:
                network.cut()
                case.report.faults += 1
            time.sleep(1)
        case.drain()
        case.projected()
        case.judge(Options(drained=True, against=far.baseline))


def test_members_part(far: Arena, networks: list[MemberNetwork]):
    """Each goes on alone with what it has. A scorer stands on each side; the map is the topic when they have joined."""
    with far.case("split_brain", f"two members do not reach each other for {_PARTED_SECONDS:.0f} s") as case:
        case.project()
        case.feed(60_000, rate=1_000)
        case.spawn("0")
        case.answered(1_000)
        for network in networks:
            network.part()
            case.report.faults += 1
        until(lambda: _sizes(far, networks) == [1, 1], what="two clusters of one member")
        case.spawn("1")
        before = case.progress
        case.answered(before + 1_000)
        time.sleep(_PARTED_SECONDS)
        for network in networks:
            network.mend()
        until(lambda: _sizes(far, networks) == [2, 2], what="one cluster of two members")
        case.drain()
        case.projected()
        case.judge(Options(drained=True, against=far.baseline))


def _sizes(far: Arena, networks: list[MemberNetwork]) -> list[int]:
    """How many members each of them sees."""
    return [_size(far.settings, network.address) for network in networks]


def _size(settings: Settings, address: str) -> int:
    alone = settings.hazelcast.model_copy(update={"members": [address]})
    try:
        client = connect(alone, 2)
    except TransientError:
        return 0
    try:
        return len(client.cluster_service.get_members())
    finally:
        client.shutdown()
