"""Rows of a table by key: merchants, all of them, and customers, all or those whose cards have been seen."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.feature_tables import card_key, parts_of
from scoring.index import CardIndex, NameIndex


class Lookup:
    """Rows by key, with their model inputs. A row keeps its number."""

    def __init__(self, columns: Mapping[str, str], index: NameIndex | CardIndex, may_be_missing: Collection[str] = ()):
        """Begin with no row.

        Args:
            columns: model input to the column of the table that holds it.
            index: numbers the rows.
            may_be_missing: inputs without which a row is complete.
        """
        self._columns = dict(columns)
        self._needed = [name not in may_be_missing for name in columns]
        self._index = index
        self.inputs = np.empty((0, len(columns)), np.float32)
        """[rows, columns], NaN where a code is missing."""
        self.incomplete = np.empty(0, bool)
        """True where a row lacks what every transaction needs."""

    def add(self, keys: Sequence[int | str], frame: pl.DataFrame) -> None:
        """Add the rows of a table that has these keys."""
        inputs = frame.select(pl.col(c).cast(pl.Float32) for c in self._columns.values()).fill_null(float("nan"))
        matrix = np.ascontiguousarray(inputs.to_numpy())
        self._index.add(keys)
        self.inputs = np.concatenate((self.inputs, matrix))
        self.incomplete = np.append(self.incomplete, np.isnan(matrix[:, self._needed]).any(axis=1))

    def rows(self, keys: Sequence[int | str]) -> NDArray[np.intp]:
        """The row of each key, -1 where there is none."""
        return self._index.rows(keys)

    def missing_codes(self, row: int) -> str:
        """The names of the inputs that a row lacks."""
        named = zip(self._columns, self._needed, self.inputs[row], strict=True)
        return ", ".join(name for name, needed, value in named if needed and np.isnan(value))


class Customers(Lookup):
    """Customers by card. Those that are not here yet are fetched, a part of all customers at a time, and kept.

    Look-ups may come from several threads: histories are read beside the scoring, of the same customers.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        columns: Mapping[str, str],
        parts: int = 1,
        held: Collection[int] = (0,),
        fetch: Callable[[Collection[int]], pl.DataFrame] | None = None,
    ):
        """Begin with some.

        Args:
            frame: of `CUSTOMER_SCHEMA`.
            columns: model input to the column of `frame` that holds it.
            parts: into which all customers are cut, see `parts_of`.
            held: the parts that `frame` has.
            fetch: the customers of further parts; None where `frame` has all.
        """
        super().__init__(columns, CardIndex())
        self.frame = frame.clear()
        self.latitude, self.longitude, self.cosine = (np.empty(0) for _ in range(3))
        """Of the home, in radians, and the cosine of the latitude."""
        self.part, self.place = np.empty(0, np.int32), np.empty(0, np.int32)
        """In which part each row is, and where in that part: the same in every process, which its row is not."""
        self._order: NDArray[np.intp] | None = None
        self.parts, self._held, self._fetch = parts, set(held), fetch
        self._lock = threading.Lock()
        self._take_in(frame)

    @property
    def held(self) -> frozenset[int]:
        """The parts that are here."""
        return frozenset(self._held)

    def rows(self, keys: Sequence[int | str]) -> NDArray[np.intp]:
        """The row of each card, whose number may be written as text; -1 where no customer has it.

        Raises:
            TransientError: customers have to be fetched, and cannot be.
        """
        with self._lock:
            found = super().rows(keys)
            missing = np.flatnonzero(found < 0).tolist()
            if missing:
                cards = [card_key(keys[i]) for i in missing]
                if self._fetch is not None:
                    self._have(parts_of(cards, self.parts).tolist())
                found[missing] = super().rows(cards)
            return found

    def rows_at(self, part: NDArray[np.int32], place: NDArray[np.int32]) -> NDArray[np.intp]:
        """The rows of the customers at these places in these parts.

        Raises:
            TransientError: customers have to be fetched, and cannot be.
            KeyError: there is none at one of them.
        """
        with self._lock:
            self._have(np.unique(part).tolist())
            if self._order is None:
                self._order = np.argsort(_joined(self.part, self.place))
            known, wanted = _joined(self.part, self.place)[self._order], _joined(part, place)
            at = np.searchsorted(known, wanted)
            if len(wanted) and (at.max() == len(known) or (known[at] != wanted).any()):
                raise KeyError("no customer is there")
            return self._order[at]

    def _have(self, parts: Sequence[int]) -> None:
        wanted = set(parts) - self._held
        if wanted and self._fetch is not None:
            self._take_in(self._fetch(wanted))
            self._held |= wanted

    def _take_in(self, frame: pl.DataFrame) -> None:
        keys = [card_key(card) for card in frame["card"].to_list()]
        self.add(keys, frame)
        part = parts_of(keys, self.parts) if self.parts > 1 else np.zeros(len(keys), np.intp)
        self.part = np.append(self.part, part.astype(np.int32))
        self.place = np.append(self.place, _places(part))
        self._order = None
        latitude = np.radians(frame["customer_lat"].to_numpy())
        self.frame = pl.concat([self.frame, frame])
        self.latitude = np.append(self.latitude, latitude)
        self.longitude = np.append(self.longitude, np.radians(frame["customer_lon"].to_numpy()))
        self.cosine = np.append(self.cosine, np.cos(latitude))


def _places(part: NDArray[np.intp]) -> NDArray[np.int32]:
    """Of rows that are whole parts, the place of each in its part."""
    order = np.argsort(part, kind="stable")
    first = np.searchsorted(part[order], part[order])
    places = np.empty(len(part), np.int32)
    places[order] = np.arange(len(part)) - first
    return places


def _joined(part: NDArray[np.int32], place: NDArray[np.int32]) -> NDArray[np.int64]:
    return (part.astype(np.int64) << 32) | place
