"""Transactions as Kafka keys and values, from a CSV, a Parquet file, or frames.

A key is the card number as text; a value is a JSON object with the eight columns of the transactions CSV, as
the contract has it. Reading is by pieces, so that memory does not grow with the file.

What is wrong with a whole file (its header, its type) is told at once. What is wrong with one row is not this
module's to judge: the row is sent as it stands, and the scorer puts it among the dead letters, where a person
sees it with the reason. Dropping it here would lose it without a trace; stopping would lose its neighbours.
"""

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import polars as pl

from infra.errors import InputError

SCHEMA = pl.Schema(
    {
        "cc_num": pl.Int64,
        "trans_num": pl.String,
        "amt": pl.Float64,
        "merchant": pl.String,
        "transaction_date": pl.String,
        "merch_lat": pl.Float64,
        "merch_long": pl.Float64,
        "is_fraud": pl.Int64,
    }
)
COLUMNS = tuple(SCHEMA)
# Of history and of simulated transactions; a file of others may do without the column, or leave values out.
OPTIONAL = "is_fraud"
# About 100,000 rows: the fixed cost of a Polars call and of a Kafka commit vanish, and a piece stays near
# 50 MB as Python bytes.
CSV_PIECE_BYTES = 12 << 20
FRAME_ROWS = 100_000
DATE_FORMAT = "%Y-%m-%d %H:%M:%S"
# What Polars' CSV reader takes for a number. Python's own float() and int() take more: 1_0.5, digits of other
# scripts; a row must not read differently because a neighbour of it is bad.
_CARD = re.compile(r"0|-?[1-9]\d{0,18}", re.ASCII)
_FLOAT = re.compile(r" *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r" *[+-]?\d{1,18}", re.ASCII)


class Records(NamedTuple):
    """Keys and values of equally many records, in order."""

    keys: list[bytes]
    values: list[bytes]

    def part(self, start: int, stop: int) -> "Records":
        """Records `start` to `stop`."""
        return Records(self.keys[start:stop], self.values[start:stop])


class Source(Protocol):
    """Where transactions come from: the same rows in the same order, each time it is read.

    `total` is the number of rows if it is known. `identity` differs where the rows differ, so that a retry
    does not go on in the middle of something else.
    """

    total: int | None
    identity: str

    def records(self, skip: int = 0) -> Iterator[Records]:
        """The records after the first `skip`, in pieces."""
        ...


class FrameSource:
    """Frames with the columns of the transactions CSV, made anew on each reading."""

    def __init__(self, frames: Callable[[int], Iterable[pl.DataFrame]], total: int | None, identity: str):
        """Args: `frames(skip)` gives the rows after the first `skip`."""
        self._frames, self.total, self.identity = frames, total, identity

    def records(self, skip: int = 0) -> Iterator[Records]:
        """The records after the first `skip`, in pieces."""
        for frame in self._frames(skip):
            yield encode(frame)


class ParquetSource:
    """A Parquet file with the columns of the transactions CSV; a date may be a timestamp."""

    def __init__(self, path: Path):
        """Read the header.

        Raises:
            InputError: it is no Parquet file, or its columns do not fit.
        """
        self._path = Path(path)
        try:
            self._rows = pl.scan_parquet(self._path)
            schema = self._rows.collect_schema()
            _refuse_columns(self._path, schema.names())
            self.total = self._rows.select(pl.len()).collect().item()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise InputError(self._path, f"is not a Parquet file that can be read: {error}") from error
        self._columns = _present(schema.names())
        for name in self._columns:
            if schema[name].is_nested() or schema[name] in {pl.Binary, pl.Time, pl.Duration}:
                raise InputError(self._path, f"holds {schema[name]}; plain values are needed", column=name)
        self.identity = _file_identity(self._path)

    def records(self, skip: int = 0) -> Iterator[Records]:
        """The records after the first `skip`, in pieces."""
        for start in range(skip, self.total or 0, FRAME_ROWS):
            try:
                frame = self._rows.select(self._columns).slice(start, FRAME_ROWS).collect()
            except (OSError, pl.exceptions.PolarsError) as error:
                raise InputError(self._path, f"cannot be read beyond row {start:,}: {error}") from error
            yield encode(frame)


class CsvSource:
    """A CSV with a header; the columns may stand in any order, and others beside them are left out.

    A row is a line: values may be quoted, but not go on in the next line. So one quote that is never closed
    spoils its own row and cannot swallow those after it.
    """

    def __init__(self, path: Path):
        """Read the header.

        Raises:
            InputError: the file cannot be read, is empty, or lacks a column.
        """
        self._path = Path(path)
        try:
            with self._path.open("rb") as file:
                header = file.readline()
                self._body = file.tell()
                # A line more or less (blank ones, no newline at the end) does not matter for a progress bar.
                self.total: int | None = sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 22), b""))
        except OSError as error:
            raise InputError(self._path, f"cannot be read: {error.strerror}") from error
        try:
            self._header = next(csv.reader([header.decode("utf-8-sig")]), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(self._path, f"is not a CSV in UTF-8: {error}", line=1) from error
        _refuse_columns(self._path, self._header)
        self._columns = _present(self._header)
        self.identity = _file_identity(self._path)

    def records(self, skip: int = 0) -> Iterator[Records]:
        """The records after the first `skip`, in pieces."""
        for piece in self._pieces():
            records = self._parse(piece, skip)
            if isinstance(records, int):
                skip -= records
            else:
                skip = 0
                yield records

    def _pieces(self) -> Iterator[bytes]:
        """The file in whole lines. The cuts depend on nothing but the file, so a retry sees the same ones."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._body)
                rest = b""
                while block := file.read(CSV_PIECE_BYTES):
                    cut = block.rfind(b"\n") + 1
                    if cut == 0:
                        rest += block
                        continue
                    yield rest + block[:cut]
                    rest = block[cut:]
                if rest:
                    yield rest
        except OSError as error:
            raise InputError(self._path, f"cannot be read: {error.strerror}") from error

    def _parse(self, piece: bytes, skip: int) -> Records | int:
        """The piece's records after the first `skip`; their number if `skip` covers all of them."""
        frame = self._well_formed(piece)
        if frame is not None:
            return encode(frame.slice(skip)) if skip < frame.height else frame.height
        records = self._line_by_line(piece)
        size = len(records.values)
        return records.part(skip, size) if skip < size else size

    def _well_formed(self, piece: bytes) -> pl.DataFrame | None:
        """The piece as a typed frame, or None where any value in it is not what its column should hold."""
        if piece.count(b"\r") != piece.count(b"\r\n"):
            return None
        # Columns that are left out may be called the same.
        schema = {n if n in SCHEMA else f"column {at}": SCHEMA.get(n, pl.String) for at, n in enumerate(self._header)}
        schema["cc_num"] = pl.String  # as text first: a number would forget leading zeros
        try:
            frame = pl.read_csv(piece, has_header=False, schema=schema)
            frame = frame.select(self._columns)
            numbers = frame["cc_num"].cast(pl.Int64)
        except pl.exceptions.PolarsError:
            return None
        if frame.height != piece.count(b"\n") + (not piece.endswith(b"\n")):
            return None  # a quoted value went on over a line's end
        finite = all(frame[name].is_finite().all() for name, kind in SCHEMA.items() if kind == pl.Float64)
        holes = any(column.null_count() for column in frame.iter_columns() if column.name != OPTIONAL)
        if holes or not finite or not (numbers.cast(pl.String) == frame["cc_num"]).all():
            return None
        return frame.with_columns(numbers)

    def _line_by_line(self, piece: bytes) -> Records:
        """The slow way, for a piece with a bad row in it: 20 times slower, and each row stands for itself."""
        at = [self._header.index(name) for name in self._columns]
        keys, values = [], []
        for ended in piece.split(b"\n"):
            line = ended.removesuffix(b"\r")
            if not line.strip():
                continue
            fields = _fields(line)
            if fields is None or not max(at) < len(fields) <= len(self._header):
                # Not a row of this file: the line itself is what a person needs to see.
                keys.append(b"")
                values.append(line)
                continue
            row = {name: _typed(name, fields[i]) for name, i in zip(self._columns, at, strict=True)}
            keys.append(str(row["cc_num"] if row["cc_num"] is not None else "").encode())
            values.append(json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode())
        return Records(keys, values)


def open_source(path: Path) -> Source:
    """A transactions file, by its ending: `.parquet` is Parquet, anything else is CSV.

    Raises:
        InputError: it cannot be used.
    """
    path = Path(path)
    return ParquetSource(path) if path.suffix.lower() in {".parquet", ".pq"} else CsvSource(path)


def encode(frame: pl.DataFrame) -> Records:
    """A frame's rows as records. Columns beside the eight are left out; what does not fit stays as it is."""
    frame = frame.select(_present(frame.columns))
    if frame.schema["transaction_date"].is_temporal():
        frame = frame.with_columns(pl.col("transaction_date").dt.strftime(DATE_FORMAT))
    # Decimals would become JSON strings; as doubles they are the numbers that a CSV has.
    frame = frame.with_columns(
        pl.col(name).cast(pl.Float64) for name, kind in frame.schema.items() if kind.is_decimal()
    )
    card = frame["cc_num"]
    if card.dtype == pl.String:
        # As JSON numbers if all of them are: other people's Parquet files have them as text.
        numbers = card.cast(pl.Int64, strict=False)
        if (numbers.cast(pl.String) == card).all() and not card.has_nulls():
            frame = frame.with_columns(numbers)
    keys = card.cast(pl.String).fill_null("").cast(pl.Binary).to_list()
    lines = io.BytesIO()  # written as bytes: by way of a str it takes half as long again
    frame.write_ndjson(lines)
    values = lines.getvalue().split(b"\n")
    values.pop()  # behind the last newline is nothing
    return Records(keys, values)


def _refuse_columns(path: Path, present: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in present and name != OPTIONAL]
    if missing:
        raise InputError(
            path,
            f"lacks the columns {', '.join(missing)}; the first line must name {','.join(COLUMNS)}",
            line=1,
        )
    for name in COLUMNS:
        if present.count(name) > 1:
            raise InputError(path, "is there more than once", line=1, column=name)


def _present(names: Sequence[str]) -> list[str]:
    return [name for name in COLUMNS if name in names]


def _file_identity(path: Path) -> str:
    """Tells one file from another and from its changed self; costs a fraction of what sending it does."""
    try:
        with path.open("rb") as file:
            return f"file:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from error


def _fields(line: bytes) -> list[str] | None:
    try:
        return next(csv.reader([line.decode()], strict=True), None)
    except (UnicodeDecodeError, csv.Error):
        return None


def _typed(name: str, text: str) -> str | int | float | None:
    """The value as its column's type if it is one, else the text; JSON has no NaN, so that stays text too."""
    if SCHEMA[name] == pl.String:
        return text
    if text == "":
        return None
    if name == "cc_num":
        return int(text) if _CARD.fullmatch(text) else text
    if SCHEMA[name] == pl.Int64:
        return int(text) if _INTEGER.fullmatch(text) else text
    return float(text) if _FLOAT.fullmatch(text) and math.isfinite(float(text)) else text
