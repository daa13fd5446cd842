"""The whole that suspected fraud is a share of: all newest predictions, counted as they pass by in Kafka.

What is suspected is a few percent of the predictions, and Hazelcast counts it at once. To count the whole there means
to parse each prediction again for each question, on the cores that score: seconds for a million. So each prediction is
taken once, and a few columns of it are kept, in some hundred bytes: enough to count by.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

import numpy as np
import orjson
import polars as pl
import polars.selectors as cs
from confluent_kafka import TopicPartition

from dashboard.answers import Answer
from dashboard.following import Growth, arrived, follower, for_ever
from dashboard.queries import AMOUNT_EDGES, BANDS, BEFORE_CARD, LOWEST, ROUNDING, Filters, Since
from dashboard.state import Watched
from infra.errors import TransientError
from infra.kafka import partitions
from infra.settings import Settings

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 5.0
_BATCH, _WAIT_SECONDS = 10_000, 0.5
# Counts are shared by all who ask, and counted again no sooner; one that took 0.1 s rests for 5 s.
_FRESH_SECONDS, _REST_FACTOR = 2.0, 50.0
# Pieces that the newest are kept in: the oldest piece goes as a whole.
_PIECES = 16
# What is counted in the pieces goes with the answer that it makes up, and is up to as many times as large.
_REMEMBERED, _REMEMBERED_BYTES = 500, 16 << 20
# Counts are kept with a piece if they are that much smaller: by merchant, and not by customer.
_MUCH_SMALLER = 32

_TEXTS = (
    "category", "merchant", "customer_city", "customer_age_group", "customer_gender", "model_version",
    "challenger_version",
)  # fmt: skip
_READ: dict[str, type[pl.DataType]] = {
    "transaction_number": pl.String,
    "transaction_date": pl.String,
    "card_token": pl.String,
    "card_last4": pl.String,
    "customer_name": pl.String,
    **dict.fromkeys(_TEXTS, pl.String),
    "is_fraud": pl.Int64,
    "transaction_weekday_code": pl.Int64,
    "transaction_hour_code": pl.Int64,
    "source_partition": pl.Int64,
    "source_offset": pl.Int64,
    "amount": pl.Float64,
    "fraud_probability": pl.Float64,
    "challenger_probability": pl.Float64,
}
_COUNTS = {"transactions": pl.len().cast(pl.Int64), "total": pl.col("amount").sum()}


@dataclass(frozen=True)
class _Known:
    version: int
    answer: Answer
    size: int
    """Bytes of its frame."""
    rests_until: float


class _Piece:
    """Some of the predictions. They never change, so what was counted in them is kept with them."""

    def __init__(self, rows: pl.DataFrame, numbers: set[int] | None = None):
        self.rows = rows
        self.numbers = set(rows["transaction_number"].hash()) if numbers is None else numbers
        """Hashes of its transactions' numbers."""
        self.counted: dict[tuple, pl.DataFrame] = {}

    def count(self, key: tuple, work: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
        """What `work` counts; `key` names it."""
        counts = self.counted.get(key)
        if counts is None:
            counts = work(self.rows)
            if counts.height * _MUCH_SMALLER <= self.rows.height:
                self.counted[key] = counts
        return counts

    def without(self, others: "_Piece") -> "_Piece":
        """Without these transactions; itself if it has none of them."""
        if self.numbers.isdisjoint(others.numbers):
            return self
        rest = self.rows.filter(~pl.col("transaction_number").is_in(others.rows["transaction_number"].implode()))
        return self if rest.height == self.rows.height else _Piece(rest)


class Whole:
    """Columns of the newest predictions, and counts of them."""

    def __init__(self, settings: Settings, kafka: Watched):
        """Begin to read; `kafka` says whether Kafka is there."""
        self._settings, self._kafka = settings, kafka
        self._piece = max(settings.projection.max_entries // _PIECES, 1)
        self._version = 0
        self._reset()
        self._lock = threading.Lock()
        self._known: dict[tuple, _Known] = {}
        self._trouble: str | None = None
        self._looked: datetime | None = None
        self.reading: float | None = 0.0
        """The share of the newest that is read, while they are read for the first time."""
        self.passed = 0
        """Predictions that came since the older ones were read, those that came again too."""
        for_ever("counting predictions", self._follow, self._failed)

    def count(self, filters: Filters, *keys: str) -> Answer:
        """Of all that pass the filters: `transactions` and `total`, their amount, per value of the keys.

        Keys are columns of a prediction, `customer`, `day`, `amount_band` and `band`; without any it is one row.
        """

        def work(frame: pl.DataFrame) -> pl.DataFrame:
            rows = _passing(frame, filters)
            return rows.group_by(keys).agg(**_COUNTS) if keys else rows.select(**_COUNTS)

        return self._answer(("count", filters, keys), keys, work)

    def unsuspected(self) -> Answer:
        """Per model, day and known truth, those below the lowest threshold; they are all in one band."""

        def work(frame: pl.DataFrame) -> pl.DataFrame:
            rows = frame.filter(pl.col("fraud_probability") < LOWEST).with_columns(band=pl.lit(0))
            return rows.group_by(keys).agg(**_COUNTS, probability=pl.col("fraud_probability").sum())

        keys = ("model_version", "day", "is_fraud", "band")
        return self._answer(("unsuspected",), keys, work)

    def beside(self) -> Answer:
        """Of challengers beside the champion: per challenger, day, known truth and band of its own score."""

        def work(frame: pl.DataFrame) -> pl.DataFrame:
            score = pl.col("challenger_probability")
            return (
                frame.filter(score.is_not_null())
                .group_by("day", "is_fraud", model_version="challenger_version", band=_band(score))
                .agg(**_COUNTS, probability=score.sum())
            )

        return self._answer(("beside",), ("model_version", "day", "is_fraud", "band"), work)

    def of_card(self, token: str, limit: int) -> list[str]:
        """The numbers of a card's newest transactions."""
        rows = self._all().filter(pl.col("card_token") == token)
        return rows["transaction_number"].tail(limit).to_list()

    @property
    def held(self) -> int:
        """How many predictions are counted."""
        return sum(piece.rows.height for piece in self._pieces)

    def since(self) -> Since:
        """Where counting begins, of each source partition; nothing where it begins with the first transaction."""
        return self._since

    def _answer(self, key: tuple, keys: Sequence[str], work: Callable[[pl.DataFrame], pl.DataFrame]) -> Answer:
        """The sums over all pieces of what `work` counts in each by the keys."""
        with self._lock:
            known, began = self._known.get(key), time.monotonic()
            if self._ready and (known is None or (known.version != self._version and began > known.rests_until)):
                version, pieces = self._version, self._pieces
                counts = pl.concat([piece.count(key, work) for piece in pieces] or [work(_NOTHING)])
                frame = counts.group_by(keys).agg(pl.all().sum()) if keys else counts.sum()
                plain, now = _plain(frame), time.monotonic()
                answer, size = Answer(plain, self._looked, None), int(plain.estimated_size())
                known = _Known(version, answer, size, now + max(_FRESH_SECONDS, _REST_FACTOR * (now - began)))
                self._forget(pieces)
            if known is not None:
                self._known.pop(key, None)
                self._known[key] = known  # the newest used is the last to be forgotten
            state = self._kafka.state
            if known is None:
                return Answer(None, None, None)
            if trouble := self._trouble or (None if state.up else f"{state.name} is away"):
                return replace(known.answer, error=trouble)
            return replace(known.answer, as_of=self._looked) if known.version == self._version else known.answer

    def _forget(self, pieces: Sequence[_Piece]) -> None:
        """Make room for one more answer: the one that nobody has asked for the longest goes first."""
        held = sum(known.size for known in self._known.values())
        while self._known and (len(self._known) >= _REMEMBERED or held > _REMEMBERED_BYTES):
            forgotten = next(iter(self._known))
            held -= self._known.pop(forgotten).size
            for piece in pieces:
                piece.counted.pop(forgotten, None)

    def _all(self) -> pl.DataFrame:
        return pl.concat([piece.rows for piece in self._pieces] or [_NOTHING])

    def _reset(self) -> None:
        self._pieces: tuple[_Piece, ...] = ()
        self._version, self._ready = self._version + 1, False
        self._since: Since = ()

    def _failed(self, reason: str) -> None:
        logger.warning("the whole is not counted: %s", reason)
        self.reading, self._trouble = None, reason

    def _follow(self) -> None:
        """Take the newest predictions and all that come, for ever."""
        kafka = self._settings.kafka
        topic = kafka.topics.predictions
        count = partitions(kafka).get(topic, 0)
        if not count:
            raise TransientError("the topics do not exist yet: run the deployment `provision`")
        consumer = follower(kafka)
        try:
            starts, newest, cut, share = [], 0, False, self._settings.projection.max_entries // count
            for p in range(count):
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=_TIMEOUT_SECONDS)
                starts.append(TopicPartition(topic, p, max(low, high - share)))
                newest += high - starts[-1].offset
                cut |= high - share > low
            consumer.assign(starts)
            self._reset()
            behind, read, growth = set(range(count)), 0, Growth(consumer, {topic: count})
            while True:
                messages, ended = arrived(consumer, _BATCH, _WAIT_SECONDS)
                growth.take_in()
                self._trouble, self._looked = None, datetime.now(UTC)
                values = [message.value() or b"" for message in messages]
                behind -= {number for _, number in ended}
                moved = bool(values) and self._take(_packed(_decoded(values)))
                read += len(values)
                self.passed += len(values) if self._ready else 0
                if not self._ready and not behind:
                    self._ready, moved = True, cut
                if moved:
                    self._since = self._beginning()
                self.reading = None if self._ready else min(read / max(newest, 1), 1.0)
        finally:
            consumer.close()

    def _take(self, rows: pl.DataFrame) -> bool:
        """Add to the newest; whether the oldest had to go for it."""
        new = _Piece(rows.unique("transaction_number", keep="last", maintain_order=True))
        # Of transactions that were sent again only the newest answers count, as in Hazelcast.
        pieces = [piece.without(new) for piece in self._pieces]
        if pieces and pieces[-1].rows.height < self._piece:
            last = pieces.pop()
            last.numbers.update(new.numbers)  # in place: copied, all this took a quarter longer
            new = _Piece(pl.concat([last.rows, new.rows], rechunk=True), last.numbers)
        if new.rows.height <= self._piece:
            pieces.append(new)
        else:
            pieces.extend(map(_Piece, new.rows.iter_slices(self._piece)))
        held, many = sum(piece.rows.height for piece in pieces), len(pieces)
        while held - pieces[0].rows.height >= self._settings.projection.max_entries:
            held -= pieces.pop(0).rows.height
        self._pieces, self._version = tuple(pieces), self._version + 1
        return len(pieces) < many

    def _beginning(self) -> Since:
        frame = self._all().drop_nulls(("source_partition", "source_offset"))
        first = frame.group_by("source_partition").agg(pl.col("source_offset").min()).sort("source_partition")
        return tuple(first.iter_rows())


def _decoded(values: Sequence[bytes]) -> pl.DataFrame:
    try:
        return pl.read_ndjson(b"\n".join(values), schema=_READ)
    except pl.exceptions.PolarsError:
        return pl.DataFrame([row for row in map(_row, values) if row is not None], schema=_READ, orient="row")


def _row(value: bytes) -> tuple | None:
    """One that is not as the scorer writes it takes nothing from the others."""
    try:
        record = orjson.loads(value)
        return tuple(None if (v := record.get(name)) is None else _AS[kind](v) for name, kind in _READ.items())
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
        return None


_AS: dict[type[pl.DataType], Callable] = {pl.String: str, pl.Int64: int, pl.Float64: float}


def _packed(frame: pl.DataFrame) -> pl.DataFrame:
    """What is kept: texts that repeat as numbers, and the bands."""
    edges = np.array(AMOUNT_EDGES)
    band = np.searchsorted(edges, frame["amount"].fill_null(0).to_numpy(), side="right") - 1
    return frame.with_columns(
        pl.col(_TEXTS).cast(pl.Categorical),
        pl.col("is_fraud", "transaction_weekday_code", "transaction_hour_code").cast(pl.Int8, strict=False),
        customer=pl.concat_str("customer_name", pl.lit(BEFORE_CARD), "card_last4").cast(pl.Categorical),
        day=pl.col("transaction_date").str.slice(0, 10).cast(pl.Categorical),
        band=_band(pl.col("fraud_probability")),
        amount_band=pl.Series(edges[band.clip(0)], dtype=pl.Int64),
    ).drop("transaction_date", "customer_name", "card_last4")


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """With the types that answers of the cluster have."""
    return frame.with_columns(cs.categorical().cast(pl.String), cs.integer().cast(pl.Int64))


def _band(score: pl.Expr) -> pl.Expr:
    return (score * BANDS + ROUNDING).floor().cast(pl.Int64, strict=False)


_NOTHING = _packed(pl.DataFrame(schema=_READ))


def _passing(frame: pl.DataFrame, filters: Filters) -> pl.DataFrame:
    conditions = [
        pl.col(field.name).is_in(list(values)) for field in fields(Filters) if (values := getattr(filters, field.name))
    ]
    return frame.filter(*conditions) if conditions else frame
