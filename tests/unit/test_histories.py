"""Histories on disk, which runs share: those in use stay, and two runs may compute the same."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.settings import KafkaSettings
from scoring.feature_files import read_feature_files
from scoring.features import Features
from simulator.population import simulate_population, write_population
from simulator.source import simulated
from training import dataset
from training.dataset import Dataset, Piece
from training.histories import forget_old, hold
from training.sources import pieces_of

HOLD = "import sys, pathlib, training.histories as h; h.hold(pathlib.Path(sys.argv[1])); print(flush=True); input()"


@pytest.fixture
def histories(tmp_path: Path) -> Path:
    """Five folders, of which `0` is the oldest."""
    parent = tmp_path / "histories"
    for number in range(5):
        (parent / f"{number}").mkdir(parents=True)
        (parent / f"{number}" / "dataset.json").write_text("{}")
        os.utime(parent / f"{number}", (number, number))
    return parent


def names(parent: Path) -> list[str]:
    return sorted(directory.name for directory in parent.iterdir())


def test_one_that_is_held_stays_until_its_process_ends(histories: Path):
    command = [sys.executable, "-c", HOLD, str(histories / "0")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        forget_old(histories, 2)
        assert names(histories) == ["0", "3", "4"]
        holder.kill()
        holder.wait()
    forget_old(histories, 2)
    assert names(histories) == ["3", "4"]


def test_one_that_is_taken_up_is_the_newest_and_is_held(histories: Path):
    assert not dataset.take_up(histories / "another")
    assert dataset.take_up(histories / "1")
    forget_old(histories, 2)
    assert names(histories) == ["1", "4"]
    forget_old(histories, 0)
    assert names(histories) == ["1"]


def test_a_lock_that_was_given_back_holds_nothing(histories: Path):
    os.close(hold(histories / "0"))
    forget_old(histories, 0)
    assert names(histories) == []


def test_two_runs_forget_at_the_same_time(histories: Path, monkeypatch: pytest.MonkeyPatch):
    flock = fcntl.flock

    def another_is_faster(descriptor: int, operation: int) -> None:
        for number in (0, 2):
            shutil.rmtree(histories / f"{number}", ignore_errors=True)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", another_is_faster)
    forget_old(histories, 2)
    assert names(histories) == ["3", "4"]


def test_two_runs_compute_the_same_and_a_third_forgets_while_they_do(tmp_path: Path):
    write_population(simulate_population(50, 14, 1), tmp_path)
    features = Features(read_feature_files(tmp_path))
    parent = tmp_path / "histories"
    pieces = list(pieces_of(simulated(tmp_path, 300, 1), KafkaSettings()))

    def build(pieces: Iterator[Piece], source: str) -> Dataset:
        return dataset.build(pieces, features, {}, parent / "same", {"source": source})

    def others_come() -> Iterator[Piece]:
        yield from pieces
        forget_old(parent, 0)
        first = build(iter(pieces), "first")
        descriptors.append(hold(parent / "same"))
        assert len(first) == 300

    descriptors: list[int] = []
    second = build(others_come(), "second")
    os.close(descriptors.pop())
    # Who was first uses it already.
    assert second.meta["source"] == "first"
    assert len(second) == 300
    assert names(parent) == ["same"]
