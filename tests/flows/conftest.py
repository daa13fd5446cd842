"""What the tests of several flows begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.population import simulate_population, write_population
from tests.conftest import reporting_to


@pytest.fixture(scope="module")
def on_prefect(prefect: str) -> Iterator[None]:
    """Flows that this process runs are told of to the server."""
    with reporting_to(prefect):
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with the files of a small population."""
    write_population(simulate_population(100, 14, 1), tmp_path / "data")
    return tmp_path / "data"
