"""Scorer processes and what they score, for the tests of scoring."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from infra.local.registry import Registry
from infra.local.stack import KAFKA
from infra.settings import Settings
from simulator.population import Population, simulate_population, write_population
from tests.conftest import PROJECT, environment


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> tuple[Population, Path]:
    directory = tmp_path_factory.mktemp("population")
    made = simulate_population(2_000, 200, 1)
    write_population(made, directory)
    return made, directory


@pytest.fixture
def spawn(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts scorer processes with the test's settings; ends those that are left.

    They take the test run for their supervisor, so that they end with it, even if it is killed. Those that are given
    other options end with the stack.
    """
    started: list[subprocess.Popen] = []

    def start(slot: str, *, options: Sequence[str] = ("--supervised",), **changes: str) -> subprocess.Popen:
        with (tmp_path / f"scorer-{slot}.log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "scoring.worker", "--slot", slot, *options],
                    env=os.environ | environment(settings) | changes,
                    cwd=PROJECT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                )
            )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()


@pytest.fixture
def broker(servers: Settings) -> psutil.Process:
    """The process of the run's Kafka, for a test that freezes it; it must run again when the test is over."""
    started = Registry(servers.local.home).alive(KAFKA)
    assert started is not None
    return psutil.Process(started.pid)
