"""Answers that are lost or come late, connections that break, and a slow way to the broker."""

import time
from collections.abc import Iterator

import pytest

from infra.local import kafka_server, ports, stack
from infra.local.guard import guarded
from infra.local.registry import KAFKA
from infra.settings import Settings
from tests.faults.arena import Arena
from tests.faults.network import KafkaNetwork, Request
from tests.servers import local

pytestmark = [pytest.mark.faults, pytest.mark.server]


@pytest.fixture(scope="module")
def network() -> Iterator[KafkaNetwork]:
    with KafkaNetwork(ports.choose(0, setting="")) as network:
        yield network


@pytest.fixture(scope="module")
def far_home(network: KafkaNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A broker with a second address, which is the network's: who asks there is told to go on asking there."""
    home = tmp_path_factory.mktemp("far")
    near = "PLAINTEXT://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch, guarded(home):
        properties = kafka_server._PROPERTIES
        for before, after in (
            (f"\nlisteners={near},", f"\nlisteners={near},FAR://{{host}}:{network.upstream},"),
            (f"\nadvertised.listeners={near}", f"\nadvertised.listeners={near},FAR://{{host}}:{network.port}"),
            ("map=PLAINTEXT:PLAINTEXT,", "map=PLAINTEXT:PLAINTEXT,FAR:PLAINTEXT,"),
        ):
            assert before in properties
            properties = properties.replace(before, after)
        patch.setattr(kafka_server, "_PROPERTIES", properties)
        settings = Settings(local=local(home))
        stack.up(settings, services={KAFKA})
        yield settings


@pytest.fixture
def far(arena: Arena, far_home: Settings, network: KafkaNetwork) -> Iterator[Arena]:
    """The same transactions and features, beside that broker."""
    settings = far_home.model_copy(update={"hazelcast": arena.settings.hazelcast})
    yield Arena.beside(arena, stack.with_addresses(settings))
    network.mend()


# A transaction has one produce request for each partition of each output. Every second of them that is lost with its
# connection costs 3 s, for the offsets that are on their way with it hang in librdkafka (see `infra.daemon`).
EVERY = dict.fromkeys(Request, 8) | {Request.PRODUCE: 100}


@pytest.mark.parametrize("kind", Request, ids=lambda kind: kind.name.lower())
def test_answers_lost(far: Arena, network: KafkaNetwork, kind: Request):
    """The broker has done what it was asked, and nobody hears of it."""
    name, every = kind.name.lower().replace("_", " "), EVERY[kind]
    with far.case(f"answers_lost_{name}", f"one answer to `{name}` in {every} is lost") as case:
        case.address = network.address
        case.feed(12_000, rate=1_000)
        case.spawn("0")
        case.spawn("1")
        case.answered(500)
        before = network.lost.total()
        network.lose({kind}, every)
        case.drain()
        case.report.faults += network.lost.total() - before
        assert network.lost[kind], "no answer was lost"
        case.judge()


@pytest.mark.parametrize("seconds", [5, 30])
def test_answer_to_a_commit_is_late(far: Arena, network: KafkaNetwork, seconds: int):
    """30 s are past the commit's time-out: the scorer has gone on with another producer when the answer comes."""
    with far.case(f"answer_late_{seconds}", f"the answer to a commit comes {seconds} s late") as case:
        case.address = network.address
        case.feed(20_000, rate=500)
        case.spawn("0")
        case.answered(1_000)
        held = network.held
        network.hold(seconds)
        case.drain()
        assert network.held == held + 1
        case.report.faults += 1
        case.judge()


def test_connections_break(far: Arena, network: KafkaNetwork):
    with far.case("connections_break", "all connections to the broker break, once a second, twenty times") as case:
        case.address = network.address
        case.feed(20_000, rate=1_000)
        case.spawn("0")
        case.spawn("1")
        case.answered(1_000)
        for _ in range(20):
            network.cut()
            case.report.faults += 1
            time.sleep(1)
        case.drain()
        case.judge()


def test_slow_network(far: Arena, network: KafkaNetwork):
    """Throughput falls, nothing else."""
    with far.case("slow_network", "everything to and from the broker takes 100 ms longer") as case:
        case.address = network.address
        network.slow(0.1)
        case.report.faults += 1
        case.feed(10_000)
        case.spawn("0", max_batch="2000")
        case.spawn("1", max_batch="2000")
        case.drain()
        case.judge()
