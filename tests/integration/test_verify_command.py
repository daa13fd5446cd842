"""`fraudflow verify` in somebody's build: what its exit code says, and where a baseline is written."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from cli.main import app
from infra.errors import TerminalError, TransientError
from infra.settings import Settings, get_settings
from tests.integration.written import ROWS, Log, found
from verify import baseline
from verify.baseline import Baseline
from verify.outputs import digests
from verify.watch import OffsetWatch, watch


@pytest.fixture
def log(settings: Settings) -> Log:
    return Log(settings)


@pytest.fixture
def right(log: Log) -> Log:
    log.transactions()
    log.answers(range(ROWS))
    log.commit(ROWS)
    return log


def run(*options: str, **environment: str) -> Result:
    get_settings.cache_clear()
    return CliRunner().invoke(app, ["verify", *options], env=environment)


def calm(path: Path, numbers: range) -> str:
    """A baseline of the answers to transactions of these numbers."""
    keys = digests([f"t{number}".encode() for number in numbers])
    Baseline.of(keys, np.array(numbers) / 7, ["m/f"]).write(path)
    return str(path)


def test_a_hazelcast_that_is_away_is_not_checked(right: Log):
    away = {"FRAUDFLOW_HAZELCAST__MEMBERS": '["127.0.0.1:1"]', "FRAUDFLOW_HAZELCAST__CONNECT_TIMEOUT_SECONDS": "1"}
    asked = run("--drained", **away)
    assert asked.exit_code == 3
    assert "not checked: Hazelcast at 127.0.0.1:1 does not answer" in asked.stdout
    assert run("--drained", "--no-map", **away).exit_code == 0


def test_a_hazelcast_that_nobody_named_is_missed_by_those_who_ask_for_the_map(right: Log):
    unnamed = {"FRAUDFLOW_HAZELCAST__MEMBERS": "[]"}
    assert run("--drained", **unnamed).exit_code == 0
    asked = run("--drained", "--map", **unnamed)
    assert asked.exit_code == 3
    assert "not checked: no Hazelcast is named" in asked.stdout


def test_a_baseline_that_does_not_know_all_transactions(right: Log, tmp_path: Path):
    assert run("--no-map", "--against", calm(tmp_path / "same.npz", range(ROWS))).exit_code == 0
    part = run("--no-map", "--json", "--against", calm(tmp_path / "part.npz", range(5, ROWS)))
    assert part.exit_code == 3
    told = json.loads(part.stdout)
    assert (told["holds"], told["complete"], told["checks"]["D"]["state"]) == (True, False, "held")
    assert told["checks"]["D"]["unchecked"] == ["5 predictions are of transactions that the baseline does not know"]
    foreign = run("--no-map", "--against", calm(tmp_path / "foreign.npz", range(100, 120)))
    assert foreign.exit_code == 3
    assert f"not checked: {ROWS} predictions are of transactions that the baseline does not know" in foreign.stdout


def test_a_baseline_and_nothing_to_compare_with_it(log: Log, tmp_path: Path):
    assert run("--no-map").exit_code == 0
    empty = run("--no-map", "--against", calm(tmp_path / "calm.npz", range(ROWS)))
    assert empty.exit_code == 3
    assert "not checked: there is no prediction to compare" in empty.stdout


def test_dead_letters_of_a_baselines_transactions_beside_predictions_it_does_not_know(log: Log, tmp_path: Path):
    log.transactions(2)
    log.answers([0])
    log.letter(1)
    log.commit(2)
    assert run("--no-map", "--against", calm(tmp_path / "calm.npz", range(1, 2))).exit_code == 1


def test_answers_of_a_group_that_has_committed_nothing(log: Log):
    log.transactions()
    log.answers(range(ROWS))
    unknown = run("--no-map")
    assert unknown.exit_code == 3
    assert f"not checked: group {log.settings.scoring.group_id} has no committed offsets" in unknown.stdout


def test_a_watch_that_saw_nothing(right: Log, monkeypatch: pytest.MonkeyPatch):
    def away(_: OffsetWatch) -> None:
        raise TransientError("Kafka does not answer")

    monkeypatch.setattr(OffsetWatch, "look", away)
    verdict = found(right)[1]
    assert verdict.complete
    verdict.merge(watch(right.settings, 0.01, threading.Event(), lambda _: None))
    assert not verdict.complete


@pytest.mark.parametrize("place", ["missing/calm.npz", "", "file/calm.npz", "/sys/calm.npz", "/dev/null"])
def test_a_baseline_that_cannot_be_written_is_told_before_anything_is_read(place: str, tmp_path: Path):
    (tmp_path / "file").touch()
    path = tmp_path / place
    nobody = {"FRAUDFLOW_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    refused = run("--watch", "60", "--write-baseline", str(path), **nobody)
    assert refused.exit_code == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"cannot verify: no baseline can be written to {path}: ")
    assert "Name a file in a directory that you may write to" in line
    assert [left.name for left in tmp_path.iterdir()] == ["file"]


def test_a_baseline_appears_whole_or_not_at_all(right: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "calm.npz"
    assert run("--no-map", "--write-baseline", str(path)).exit_code == 0
    written = path.read_bytes()

    def full(file, **_: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(baseline.np, "savez", full)
    with pytest.raises(TerminalError, match="No space left on device"):
        found(right, write_baseline=path)
    assert path.read_bytes() == written
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["nothing", "one array", "text"])
def test_what_is_no_baseline_is_told(tmp_path: Path, content: str):
    path = tmp_path / "calm.npz"
    if content == "one array":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    else:
        path.write_text("" if content == "nothing" else "no baseline")
    with pytest.raises(TerminalError, match="is no baseline; write one with --write-baseline"):
        baseline.Baseline.read(path)
