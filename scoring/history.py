"""Online features: what a card and a merchant did before, from the events that stand before in the partition's log.

One definition for scoring and for training. Row i is a valid transaction of one partition's log (dead letters are not
in it, but for those that a model had no answer to); times are the transactions' own, in whole seconds.

- **The clock** of a partition starts at the time of its first row. A row later than it moves it forward to the row's
  time, but by `CLOCK_STEP` at most; a row more than `LATENESS` earlier moves it back by `CLOCK_STEP`. One date that
  is wrong by years moves it by an hour.
- **Remembered** for row i are the newest `CARD_EVENTS` rows of its card (`MERCHANT_EVENTS` of its merchant) among the
  rows before it in the log, without those in whose place the clock's highest reading was more than `HORIZON` below
  what it is at row i. Up to a day of lateness, that cuts nothing out of a window.
- **A window** of w seconds holds the remembered rows with a time in [t - w, t], both edges included, t being the row's
  own time. A row with an equal time is in it if it stands before in the log; one with a later time is not. A late
  row sees what had happened by its own time, as far as it stood before it in the log, and is itself seen by the rows
  after it.
- **Sums** are float64, added in the order of the log. Results are rounded to float32 once, at the end.

So the features of a row are a function of the partition's log before it, however that is cut into batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.event_log import EventLog
from scoring.geography import distance_km

ONLINE_VERSION = "1"
"""Of the definition above; a model that was trained on another one is refused."""

HOUR, DAY = 3_600, 86_400
WINDOWS = {"1h": HOUR, "24h": DAY, "7d": 7 * DAY}
LONGEST_WINDOW = WINDOWS["7d"]
CLOCK_STEP = HOUR
LATENESS = DAY
# The longest window, of a row that is late, seen from a clock that wrong dates pushed ahead.
HORIZON = LONGEST_WINDOW + 2 * DAY
# Some 18 transactions a day; what a card does beyond that saturates its counts. 48 bytes each.
CARD_EVENTS = 128
MERCHANT_EVENTS = 32
# Ratios are cut off here: a mean of a thousandth of a cent says nothing.
RATIO_LIMIT = 1e6
# A spread below half a cent is the rounding of equal amounts.
LEAST_SPREAD = 0.005
LEAST_SPAN_SECONDS = 60
CARDS = "cards"
"""The name of the parts of a history whose keys are cards."""

ONLINE_INPUTS = (
    *(f"card_{what}_{window}" for window in WINDOWS for what in ("count", "sum", "mean", "max")),
    "card_seconds_since_last",
    "card_km_since_last",
    "card_kmh_since_last",
    "card_first_at_merchant",
    "card_first_in_category",
    "card_amount_to_mean",
    "card_amount_z",
    "merchant_rate",
)
"""In the order of the columns that `History.observe` returns.

count, sum, mean, max: of the card's amounts in the window; mean and max are NaN without one.
seconds, km, km/h since last: from the row with the latest time in 7d (of equal times the last in the log); NaN without.
first at merchant, first in category: 1 if no row of the card in 7d was there, else 0.
amount to mean: the amount by the card's mean in 7d; z: its distance from that mean in standard deviations. NaN without.
merchant rate: the merchant's remembered rows per hour of the time that they and this row span, at least a minute; NaN
without. Only this partition's rows: a merchant's customers are spread over all of them.
"""


_Places = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass
class Clock:
    """The clock of a partition: its reading, and the highest one; None before the first row."""

    reading: int | None = None
    highest: int = 0

    def advance(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Move by these rows; the highest reading after each."""
        if self.reading is None:
            self.reading = self.highest = int(times[0])
        readings = np.maximum.accumulate(np.concatenate(([self.reading], times)))
        before = readings[:-1]
        if (readings[1:] - before > CLOCK_STEP).any() or (times < before - LATENESS).any():
            readings[1:] = self._step_by_step(times.tolist())
        self.reading = int(readings[-1])
        highest = np.maximum(np.maximum.accumulate(readings[1:]), self.highest)
        self.highest = int(highest[-1])
        return highest

    def _step_by_step(self, times: list[int]) -> list[int]:
        """Rare: after a gap in the input, or with dates that are wrong."""
        reading = self.reading or 0
        readings = []
        for time in times:
            if time > reading:
                reading = min(time, reading + CLOCK_STEP)
            elif time < reading - LATENESS:
                reading -= CLOCK_STEP
            readings.append(reading)
        return readings


class Events(NamedTuple):
    """The next rows of a partition's log, in its order; one entry for each in every column."""

    card: NDArray[np.intp]
    """The number of the row's card, as are merchant and category those of its merchant."""
    merchant: NDArray[np.intp]
    category: NDArray[np.intp]
    time: NDArray[np.int64]
    """Seconds since 1970."""
    amount: NDArray[np.float64]
    latitude: NDArray[np.float64]
    """Of the merchant, in degrees, as is the longitude."""
    longitude: NDArray[np.float64]

    def take(self, rows: NDArray[np.intp]) -> "Events":
        """These rows of them."""
        return Events._make(column[rows] for column in self)


class History:
    """The state of one partition. Cards, merchants and categories are numbers, the same for its whole life."""

    def __init__(self, clock: Clock | None = None):
        """Begin with an empty past; `clock` is where the log is not read from its start."""
        self.clock = clock or Clock()
        self._cards = EventLog(
            CARD_EVENTS,
            {
                "time": np.int64,
                "amount": np.float64,
                "latitude": np.float64,
                "longitude": np.float64,
                "merchant": np.int32,
                "category": np.int32,
            },
        )
        self._merchants = EventLog(MERCHANT_EVENTS, {"time": np.int64})

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        return self._cards.nbytes + self._merchants.nbytes

    @property
    def held(self) -> int:
        """How many events of cards it holds."""
        return self._cards.held

    def freeze(self) -> "History":
        """This history as it is now, for `parts`, while this one goes on."""
        frozen = History(Clock(self.clock.reading, self.clock.highest))
        frozen._cards, frozen._merchants = self._cards.freeze(), self._merchants.freeze()
        return frozen

    def parts(self, events: int) -> Iterator[tuple[str, dict[str, NDArray]]]:
        """What will still be asked for, about so many events at once, for `take` of a history with the same clock."""
        for name, log in self._logs.items():
            for part in log.parts(events, self.clock.highest - HORIZON):
                yield name, part

    def take(self, name: str, part: dict[str, NDArray]) -> None:
        """Add a part that `parts` gave; all of them, in their order, before any event."""
        self._logs[name].append(part["key"], part, self.clock.highest - HORIZON)

    @property
    def _logs(self) -> dict[str, EventLog]:
        return {CARDS: self._cards, "merchants": self._merchants}

    def observe(self, events: Events) -> NDArray[np.float32]:
        """Add events, and compute their features: float32 [N, len(ONLINE_INPUTS)]."""
        features = np.empty((len(events.time), len(ONLINE_INPUTS)), np.float32)
        if not len(features):
            return features
        values, cards, merchants = self._append(events)
        columns = self._of_cards(*cards, values)
        columns["merchant_rate"] = self._merchant_rate(*merchants, values["mark"], events.time)
        for number, name in enumerate(ONLINE_INPUTS):
            features[:, number] = columns[name]
        return features

    def add(self, events: Events) -> None:
        """Add events as `observe` does, without their features."""
        if len(events.time):
            self._append(events)

    def _append(self, events: Events) -> tuple[dict[str, NDArray], _Places, _Places]:
        mark = self.clock.advance(events.time)
        # There are two zeros, and which of them is the largest amount would depend on the batch.
        values = events._asdict() | {"mark": mark, "amount": events.amount + 0.0}
        forgotten = int(mark[0]) - HORIZON
        return (
            values,
            self._cards.append(events.card, values, forgotten),
            self._merchants.append(events.merchant, values, forgotten),
        )

    def _of_cards(
        self, places: NDArray[np.int64], before: NDArray[np.int64], values: dict[str, NDArray]
    ) -> dict[str, NDArray]:
        log, time, amount = self._cards, values["time"], values["amount"]
        rows = len(places)
        count, total, largest = (np.zeros((len(WINDOWS), rows)) for _ in range(3))
        squares, last = np.zeros(rows), np.zeros(rows, np.int64)
        new_merchant, new_category = np.ones(rows, bool), np.ones(rows, bool)
        for seen in log.look_back(places, before, values["mark"] - HORIZON):
            row, event = seen.rows, seen.event
            age = time[row] - log.take("time", event)
            inside = seen.there & (age >= 0) & (age <= LONGEST_WINDOW)
            spent = log.take("amount", event)
            for number, seconds in enumerate(WINDOWS.values()):
                within = inside & (age <= seconds)
                # Few events of a week are in a day: the oldest that are in nobody's window are left out.
                oldest = int(within.any(axis=1).argmax())
                within, amounts = within[oldest:], spent[oldest:]
                count[number, row] = _count(within)
                total[number, row] = _sum(within, amounts)
                largest[number, row] = np.where(within, amounts, -np.inf).max(axis=0)
            with np.errstate(all="ignore"):  # where there is no event, anything stands
                off = spent - total[-1, row] / count[-1, row]
                squares[row] = _sum(inside, off * off)
            last[row] = _latest(inside, age, event)
            new_merchant[row] = ~(inside & (log.take("merchant", event) == values["merchant"][row])).any(axis=0)
            new_category[row] = ~(inside & (log.take("category", event) == values["category"][row])).any(axis=0)

        columns: dict[str, NDArray] = {"card_first_at_merchant": new_merchant, "card_first_in_category": new_category}
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(count > 0, total / count, np.nan)
        for number, window in enumerate(WINDOWS):
            columns |= {
                f"card_count_{window}": count[number],
                f"card_sum_{window}": total[number],
                f"card_mean_{window}": mean[number],
                f"card_max_{window}": np.where(count[number] > 0, largest[number], np.nan),
            }
        columns |= _against_usual(amount, count[-1], mean[-1], squares)

        seconds, km, kmh = (np.full(rows, np.nan) for _ in range(3))
        some = np.flatnonzero(count[-1])
        if len(some):
            last = last[some]
            seconds[some] = time[some] - log.take("time", last)
            km[some] = distance_km(
                log.take("latitude", last),
                log.take("longitude", last),
                values["latitude"][some],
                values["longitude"][some],
            )
            kmh[some] = km[some] * HOUR / np.maximum(seconds[some], 1)
        columns |= {"card_seconds_since_last": seconds, "card_km_since_last": km, "card_kmh_since_last": kmh}
        return columns

    def _merchant_rate(
        self, places: NDArray[np.int64], before: NDArray[np.int64], mark: NDArray[np.int64], time: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        rates = np.empty(len(places))
        for row, event, there in self._merchants.look_back(places, before, mark - HORIZON):
            since = np.where(there, time[row] - self._merchants.take("time", event), 0)
            span = np.maximum(since.max(axis=0), 0) - np.minimum(since.min(axis=0), 0)
            count = _count(there)
            rate = count * HOUR / np.maximum(span, LEAST_SPAN_SECONDS)
            rates[row] = np.where(count > 0, rate, np.nan)
        return rates


def _count(which: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many in each column; nobody looks back on more events than a byte can count."""
    return which.view(np.uint8).sum(axis=0, dtype=np.uint8).astype(np.int64)


def _sum(which: NDArray[np.bool_], of: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of each column, added from its first row to its last.

    `np.sum` adds in pairs along the axis that is fast in memory, and in order along any other. That is the second one
    here, as long as it has more than one column.
    """
    return np.where(which, of, 0.0).sum(axis=0)


def _latest(inside: NDArray[np.bool_], age: NDArray[np.int64], event: NDArray[np.int64]) -> NDArray[np.int64]:
    """In each column the event of the lowest age, the last of equals; any where none is inside."""
    rank = (age << 8) + np.arange(len(age) - 1, -1, -1)[:, None]
    newest = np.where(inside, rank, (LONGEST_WINDOW + 1) << 8).min(axis=0)
    return event[len(age) - 1 - (newest & 255), np.arange(age.shape[1])]


def _against_usual(
    amount: NDArray[np.float64], count: NDArray[np.float64], mean: NDArray[np.float64], squares: NDArray[np.float64]
) -> dict[str, NDArray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(squares / count)
        ratio = np.where(mean != 0, amount / mean, np.nan)
        z = np.where(spread >= LEAST_SPREAD, (amount - mean) / spread, np.nan)
    return {
        "card_amount_to_mean": np.clip(ratio, -RATIO_LIMIT, RATIO_LIMIT),
        "card_amount_z": np.clip(z, -RATIO_LIMIT, RATIO_LIMIT),
    }
