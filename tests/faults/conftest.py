from collections.abc import Iterator

import pytest

from infra.local import stack
from infra.local.guard import guarded
from infra.settings import Settings
from tests.conftest import empty
from tests.faults import results
from tests.faults.arena import Arena, services
from tests.servers import local

ROWS = 200_000


@pytest.fixture
def arena(own_arena: Arena) -> Iterator[Arena]:
    own_arena.mend()
    yield own_arena
    results.write(own_arena.reports)  # after each case: a run that is ended leaves what it saw


@pytest.fixture(scope="session")
def own_arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A broker and two Hazelcast members of its own: here servers die too."""
    home = tmp_path_factory.mktemp("arena")
    settings = Settings(local=local(home, members=2, hazelcast_heap="512m"))
    with guarded(home):
        stack.up(settings, members=2, services=services())
        arena = Arena(stack.with_addresses(settings), tmp_path_factory.mktemp("faults"), ROWS)
        arena.calm_run()
        yield arena


@pytest.fixture(scope="module")
def calm_servers(servers: Settings, client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """The servers that all tests share: here only scorers die."""
    empty(client)
    arena = Arena(servers, tmp_path_factory.mktemp("faults"), 10_000)
    arena.calm_run()
    yield arena
    empty(client)
