"""Labelled history as columns on disk: the model's inputs, computed by the scorer's own code, and what became of them.

A row's inputs are those that the scorer would give the model: the same bytes are decoded, the same `Features` and, for
each partition, the same `History` see them in the same order. Columns are written as they come and read as memory
maps, so that memory does not grow with the history.
"""

import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from infra.errors import TerminalError
from scoring.decode import decode_batch
from scoring.features import Batch, Features
from scoring.history import History
from scoring.inputs import INPUT_NAMES, observe
from training.histories import hold
from training.labels import Said, heard

# Rows that are computed at once. The answers do not depend on it; this many keep the arrays in the cache.
PIECE_ROWS = 10_000
_COLUMNS: dict[str, Any] = {
    "time": np.dtype("<i8"),  # seconds since 1970 of the transaction's own date
    "amount": np.dtype("<f8"),
    "card": np.dtype("<i4"),  # row of the customers
    "partition": np.dtype("<i4"),
    "own": np.dtype("i1"),  # the row's own is_fraud, -1 where it has none
    "said": np.dtype("i1"),  # the verdict in `Labels`, -1 where there is none
    "said_at": np.dtype("<i8"),  # when it was there, on the clock of `time`
}
FORMAT = 1
"""Of the columns: another one makes datasets that are there unusable."""
_META, _INPUTS = "dataset.json", "inputs"


class Piece(NamedTuple):
    """Consecutive messages of the transactions topic, or what would be ones."""

    partitions: list[int]
    values: list[bytes]
    arrived: list[float] | None = None
    """Seconds since 1970 at which Kafka took them; left out of a log that is not in Kafka."""


@dataclass
class Dataset:
    """Columns with one entry a transaction, in the order of the log.

    Attributes:
        names: of the columns of `inputs`.
        inputs: float32 [rows, names].
        time, amount, card, partition, own, said, said_at: [rows]; see `_COLUMNS`.
        meta: what it was made of: source, features' version, partitions, dead letters.
    """

    names: tuple[str, ...]
    inputs: NDArray[np.float32]
    time: NDArray[np.int64]
    amount: NDArray[np.float64]
    card: NDArray[np.int32]
    partition: NDArray[np.int32]
    own: NDArray[np.int8]
    said: NDArray[np.int8]
    said_at: NDArray[np.int64]
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.time)

    def columns(self, names: Iterable[str]) -> list[int]:
        """The columns of `inputs` with these names.

        Raises:
            TerminalError: it has no such input.
        """
        at = {name: column for column, name in enumerate(self.names)}
        missing = [name for name in names if name not in at]
        if missing:
            raise TerminalError(f"this history was computed without the inputs {', '.join(missing)}: make it again")
        return [at[name] for name in names]

    def matrix(self, rows: NDArray[np.intp], names: Iterable[str]) -> NDArray[np.float32]:
        """A copy of some rows of some inputs, float32 [rows, names], C order."""
        columns = self.columns(names)
        result = np.empty((len(rows), len(columns)), np.float32)
        for start in range(0, len(rows), 1 << 17):
            part = slice(start, start + (1 << 17))
            result[part] = self.inputs[rows[part]][:, columns]
        return result

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Open what `build` has written."""
        meta = json.loads((directory / _META).read_text())
        names = tuple(meta.pop("names"))
        rows = meta["rows"]
        columns = {name: _mapped(directory / name, kind, (rows,)) for name, kind in _COLUMNS.items()}
        return cls(
            names=names, inputs=_mapped(directory / _INPUTS, np.dtype("<f4"), (rows, len(names))), meta=meta, **columns
        )


def _mapped(path: Path, kind: Any, shape: tuple[int, ...]) -> Any:
    return np.memmap(path, kind, "r", shape=shape) if shape[0] else np.empty(shape, kind)


def take_up(directory: Path) -> bool:
    """Whether a dataset is there, whole. If so, no other run forgets it while this process lives."""
    try:
        hold(directory)
    except FileNotFoundError:
        return False
    if not _is_built(directory):  # it was being forgotten when the lock was asked for
        return False
    os.utime(directory)  # those that were used last are kept
    return True


def _is_built(directory: Path) -> bool:
    return (directory / _META).is_file()


def build(
    pieces: Iterable[Piece],
    features: Features,
    labels: dict[str, Said],
    directory: Path,
    meta: dict[str, Any],
) -> Dataset:
    """Compute the inputs of a log and write them to `directory`, which appears when it is whole.

    Args:
        pieces: the log; within a partition in its order.
        features: what is known of customers and merchants.
        labels: verdicts by transaction number.
        directory: to be made.
        meta: kept with the columns.

    Raises:
        TerminalError: nothing of it can be scored.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own: another run may be computing the same.
    with tempfile.TemporaryDirectory(".part", f"{directory.name}.", directory.parent) as place:
        unfinished = Path(place)
        writing = hold(unfinished)
        try:
            _write(pieces, features, labels, unfinished, meta)
            if not _is_built(directory):
                shutil.rmtree(directory, ignore_errors=True)  # what is left of one that was being forgotten
                unfinished.replace(directory)
        finally:
            os.close(writing)
    return Dataset.load(directory)


def _write(
    pieces: Iterable[Piece], features: Features, labels: dict[str, Said], directory: Path, meta: dict[str, Any]
) -> None:
    dead: dict[str, int] = {}
    rows = 0
    writers = {name: (directory / name).open("wb") for name in (*_COLUMNS, _INPUTS)}
    try:
        for computed in compute(pieces, features, dead):
            computed.inputs.tofile(writers[_INPUTS])
            batch = computed.batch
            columns = vars(heard(batch, computed.arrived, labels)) | {
                "amount": batch.amount,
                "card": batch.customer,
                "partition": computed.partition,
            }
            for name, kind in _COLUMNS.items():
                np.asarray(columns[name], kind).tofile(writers[name])
            rows += len(batch)
    finally:
        for writer in writers.values():
            writer.close()
    if not rows:
        why = f": all {sum(dead.values()):,} transactions are dead letters, {dead}" if dead else ""
        raise TerminalError(f"there is no transaction to learn from{why}")
    written = meta | {"names": INPUT_NAMES, "rows": rows, "dead_letters": dead, "features": features.version}
    (directory / _META).write_text(json.dumps(written))


class Computed(NamedTuple):
    """A batch as the scorer would give it to a model.

    Attributes:
        batch: the transactions that can be scored.
        inputs: float32 [rows, INPUT_NAMES].
        partition: int32 [rows].
        arrived: float64 [rows], seconds since 1970; None outside Kafka.
    """

    batch: Batch
    inputs: NDArray[np.float32]
    partition: NDArray[np.int32]
    arrived: NDArray[np.float64] | None


def compute(pieces: Iterable[Piece], features: Features, dead: dict[str, int]) -> Iterator[Computed]:
    """The inputs of a log, in batches. `dead` counts what cannot be scored, by reason."""
    histories: dict[int, History] = defaultdict(History)
    for piece in pieces:
        for start in range(0, len(piece.values), PIECE_ROWS):
            part = slice(start, start + PIECE_ROWS)
            rows, positions, rejected = decode_batch(piece.values[part])
            batch, unknown = features.build(rows, positions)
            for why in (rejected | unknown).values():
                dead[why.reason.value] = dead.get(why.reason.value, 0) + 1
            if batch:
                partition = np.asarray(piece.partitions[part], np.int32)[batch.positions]
                arrived = None if piece.arrived is None else np.asarray(piece.arrived[part])[batch.positions]
                online = observe(batch, partition, lambda number, events, _: histories[number].observe(events))
                yield Computed(batch, np.concatenate([batch.inputs, online], axis=1), partition, arrived)
