"""The answers of an undisturbed run, to hold those of another one against: bit by bit, by transaction number."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from infra.errors import TerminalError
from infra.whole_file import part_of, written_whole


@dataclass(frozen=True)
class Baseline:
    """Digest of the transaction number and bits of the probability, of each prediction; ordered by both."""

    keys: NDArray[np.uint64]
    bits: NDArray[np.uint64]
    versions: list[str]

    @classmethod
    def of(cls, keys: NDArray[np.uint64], probabilities: NDArray[np.float64], versions: list[str]) -> Self:
        """Of a run's predictions. A float64 holds exactly what stands in the JSON."""
        bits = probabilities.view(np.uint64)
        order = np.lexsort((bits, keys))
        return cls(keys[order], bits[order], versions)

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote.

        Raises:
            TerminalError: it is no such file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(file["keys"], file["bits"], file["versions"].tolist())
        except (OSError, EOFError, ValueError, TypeError, KeyError, BadZipFile) as error:
            reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
            raise TerminalError(f"{path} is no baseline; write one with --write-baseline{reason}") from error

    def write(self, path: Path) -> None:
        """Keep it: 16 bytes for each prediction, and no transaction number in clear.

        Raises:
            TerminalError: it cannot be written there; what was there before stays.
        """
        try:
            with written_whole(path) as part, part.open("wb") as file:
                np.savez(file, keys=self.keys, bits=self.bits, versions=np.array(self.versions, str))
        except OSError as error:
            raise TerminalError(_refusal(path, error.strerror)) from error

    def knows(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """To which of these transactions it has a prediction."""
        return np.searchsorted(self.keys, keys, "right") > np.searchsorted(self.keys, keys, "left")

    def compare(
        self, keys: NDArray[np.uint64], probabilities: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of these predictions it knows, and which of them are the same."""
        return find_pairs(self.keys, self.bits, keys, probabilities.view(np.uint64))


def require_writable(path: Path) -> None:
    """Find out now, and not after hours of reading, whether a baseline can be written there.

    Raises:
        TerminalError: it cannot.
    """
    try:
        if path.exists() and not path.is_file():
            raise TerminalError(_refusal(path, "what is there is no file"))
        part_of(path).open("wb").close()
        part_of(path).unlink()
    except OSError as error:
        raise TerminalError(_refusal(path, error.strerror)) from error


def _refusal(path: Path, problem: str | None) -> str:
    return f"no baseline can be written to {path}: {problem}. Name a file in a directory that you may write to"


def find_pairs(
    known_keys: NDArray[np.uint64],
    known_values: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    values: NDArray[np.uint64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which keys are known, and which of the pairs; `known_keys` is in order.

    A transaction number that was sent more than once has more than one value, and each of them is right.
    """
    low = np.searchsorted(known_keys, keys, "left")
    times = np.searchsorted(known_keys, keys, "right") - low
    same = np.zeros(len(keys), bool)
    for again in range(int(times.max(initial=0))):
        rows = np.flatnonzero(times > again)
        same[rows] |= known_values[low[rows] + again] == values[rows]
    return times > 0, same
