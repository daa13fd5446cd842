"""Transactions of a population over a period, in time order, as many as are asked for."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from simulator import behaviour
from simulator.fraud import DAY, HOUR, KINDS, fraud
from simulator.population import Population
from simulator.purchases import Purchases, together
from simulator.vocabulary import TRANSACTION_COLUMNS
from simulator.world import TOWN_LATITUDE, TOWN_LONGITUDE, World, world_of

START = datetime(2025, 1, 1)  # noqa: DTZ001 - card slips carry the shop's wall clock
DAYS = 90
FRAUD_RATE = 0.005
# Rows that are made at once: enough for vectors to pay, little enough to stay in the tens of megabytes.
BLOCK_ROWS = 100_000

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
FRAUD_KIND = pl.Enum(KINDS)


class Simulation:
    """A fixed run of `count` transactions: the same arguments give the same rows, however they are read.

    The period is cut into blocks of whole hours. How many rows an hour has, and all fraud, is drawn at the
    start; everything else is drawn per block from the block's own random stream. So memory does not grow with
    `count` (but for the fraud: about 60 bytes a row), and reading can start in the middle.
    """

    def __init__(
        self,
        population: Population,
        count: int,
        seed: int,
        fraud_rate: float = FRAUD_RATE,
        *,
        start: datetime = START,
        days: int = DAYS,
    ):
        """Args: `start` is midnight of a first day; `fraud_rate` is the share of all rows that are fraud.

        `identity` is the same for the same rows only: it stands for the arguments and for the code.
        """
        if count < 0 or not 0 <= fraud_rate <= 1 or days < 1:
            raise ValueError("count must not be negative, fraud_rate within 0 and 1, days at least 1")
        self.count, self._seed = count, seed
        self.identity = _digest(population, count, seed, fraud_rate, start, days)
        self._world = world_of(population, seed)
        self._midnight = np.datetime64(start.date(), "s")
        self._calendar = _Calendar(self._midnight, days)
        fraudulent = round(count * fraud_rate)
        self._fraud = fraud(self._world, fraudulent, days * DAY, np.random.default_rng([seed, 4]))
        self._per_hour = np.random.default_rng([seed, 5]).multinomial(
            count - fraudulent, self._calendar.intensity(self._world)
        )

    def frames(self, skip: int = 0, with_kind: bool = False) -> Iterator[pl.DataFrame]:
        """The rows after the first `skip`, in time order, in frames of about `BLOCK_ROWS`.

        Args:
            skip: rows to leave out; whole blocks of them are not even made.
            with_kind: add the column `fraud_kind`, the ground truth: null for honest rows.
        """
        for first_hour, last_hour in self._blocks:
            inside = slice(*np.searchsorted(self._fraud.second, [first_hour * HOUR, (last_hour + 1) * HOUR]).tolist())
            rows = int(self._per_hour[first_hour : last_hour + 1].sum()) + inside.stop - inside.start
            if skip >= rows:
                skip -= rows
                continue
            frame = self._block(first_hour, last_hour, self._fraud.take(inside))
            yield (frame if with_kind else frame.select(TRANSACTION_COLUMNS)).slice(skip)
            skip = 0

    @cached_property
    def _blocks(self) -> list[tuple[int, int]]:
        """First and last hour of each block."""
        block = (np.cumsum(self._per_hour) - self._per_hour) // BLOCK_ROWS
        starts = np.flatnonzero(np.diff(block, prepend=-1))
        ends = np.append(starts[1:], len(block)) - 1
        return list(zip(starts.tolist(), ends.tolist(), strict=True))

    def _block(self, first_hour: int, last_hour: int, frauds: Purchases) -> pl.DataFrame:
        rng = np.random.default_rng([self._seed, 6, first_hour])
        hour = np.repeat(np.arange(first_hour, last_hour + 1), self._per_hour[first_hour : last_hour + 1])
        honest = self._honest(hour, rng)
        return self._frame(together([honest, frauds]).in_time_order(), rng)

    def _honest(self, hour: np.ndarray, rng: np.random.Generator) -> Purchases:
        world, calendar, count = self._world, self._calendar, len(hour)
        second = np.sort(hour * HOUR + rng.integers(0, HOUR, count))
        clock = hour % 24
        group = _first_above(calendar.groups(world)[calendar.weekday[hour], clock], rng.random(count))
        customer = world.members[world.groups.draw(group, rng.random(count))]
        category = _first_above(world.kinds[calendar.month[hour], group, clock], rng.random(count))
        merchant = np.where(
            rng.random(count) < behaviour.USUAL_SHARE,
            world.usual_merchants(customer, category, rng.integers(0, behaviour.USUAL_SHOPS, count)),
            world.merchants(category, rng.random(count)),
        )
        amount = (
            world.amount_median[category]
            * world.spending[customer]
            * np.exp(world.amount_sigma[category] * rng.standard_normal(count))
        )
        # Homes stay where they are; on a journey the shop is near another town's centre.
        away = rng.random(count) < world.away_share[category]
        town = rng.integers(len(TOWN_LATITUDE), size=count)
        km = np.minimum(
            world.radius[customer] * rng.standard_gamma(behaviour.HOME_RADIUS_SHAPE, count),
            behaviour.HOME_RADIUS_MAX_KM,
        )
        latitude, longitude = world.beside(
            np.where(away, TOWN_LATITUDE[town], world.latitude[customer]),
            np.where(away, TOWN_LONGITUDE[town], world.longitude[customer]),
            km,
            rng.random(count) * 2 * np.pi,
        )
        return Purchases(
            second=second,
            customer=customer,
            merchant=merchant,
            amount=np.round(np.clip(amount, 1.0, 20_000.0), 2),
            latitude=latitude,
            longitude=longitude,
            kind=np.zeros(count, dtype=np.int8),
        )

    def _frame(self, rows: Purchases, rng: np.random.Generator) -> pl.DataFrame:
        numbers = np.frombuffer(rng.bytes(16 * len(rows)).hex().encode(), dtype="S32")
        return pl.DataFrame(
            {
                "cc_num": self._world.cards[rows.customer],
                "trans_num": pl.Series(numbers, dtype=pl.Binary).cast(pl.String),
                "amt": rows.amount,
                "merchant": self._world.merchant_names.gather(rows.merchant),
                "transaction_date": self._dates(rows.second),
                "merch_lat": rows.latitude,
                "merch_long": rows.longitude,
                "is_fraud": (rows.kind > 0).astype(np.int64),
                "fraud_kind": pl.Series([None, *KINDS], dtype=FRAUD_KIND).gather(rows.kind.astype(np.int64)),
            },
            schema={**SCHEMA, "fraud_kind": FRAUD_KIND},
        )

    def _dates(self, second: np.ndarray) -> pl.Series:
        """`yyyy-MM-dd HH:mm:ss` text: a day's and a time's text joined, 3 times faster than strftime."""
        day, time = np.divmod(second, DAY)
        return self._calendar.day_text.gather(day) + self._calendar.time_text.gather(time)


def _digest(population: Population, *arguments: object) -> str:
    digest = hashlib.sha256(repr((*arguments, np.__version__)).encode())
    for frame in (population.customers, population.merchants):
        digest.update(frame.write_csv().encode())
    # A run that is retried after an update must not go on in the middle of what the new code draws.
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return f"simulation:{digest.hexdigest()}"


class _Calendar:
    """Hours of the period: their weekday (0 = Monday) and month (0 = January), int64 [hours]."""

    def __init__(self, midnight: np.datetime64, days: int):
        day = midnight.astype("datetime64[D]") + np.arange(days)
        # 1970-01-01 was a Thursday.
        self.weekday = np.repeat((day.astype(np.int64) + 3) % 7, 24)
        self.month = np.repeat(day.astype("datetime64[M]").astype(np.int64) % 12, 24)
        self.day_text = pl.Series([f"{text} " for text in np.datetime_as_string(day)])
        at = range(DAY)
        self.time_text = pl.Series([f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in at])

    def intensity(self, world: World) -> np.ndarray:
        """Share of the purchases in each hour of the period, float64 [hours], sum 1."""
        clock = np.arange(len(self.weekday)) % 24
        total = np.einsum("g,gdh->dh", world.group_activity, world.hours)
        share = total[self.weekday, clock] * behaviour.MONTH_ACTIVITY[self.month]
        return share / share.sum()

    def groups(self, world: World) -> np.ndarray:
        """Cumulative chance that a purchase is of a group, float64 [weekday, hour, group]."""
        part = np.moveaxis(world.group_activity[:, None, None] * world.hours, 0, -1)
        return np.cumsum(part, axis=-1) / part.sum(axis=-1, keepdims=True)


def _first_above(cumulative: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Per row, the first column whose cumulative chance is above the draw, int64 [n]."""
    # The last column is 1 up to rounding; leaving it out of the count makes it the rest.
    return (uniform[:, None] >= cumulative[:, :-1]).sum(axis=1)


def simulate_transactions(
    population: Population,
    count: int,
    seed: int,
    fraud_rate: float = FRAUD_RATE,
    *,
    start: datetime = START,
    days: int = DAYS,
    with_kind: bool = False,
) -> pl.DataFrame:
    """`count` transactions in time order, with the columns of the transactions CSV.

    Args:
        population: who buys where.
        count: rows.
        seed: the same seed (and count, and period) gives the same rows.
        fraud_rate: share of the rows that are fraud.
        start: midnight of the first day.
        days: length of the period.
        with_kind: add `fraud_kind`, the ground truth: null for honest rows.
    """
    frames = list(Simulation(population, count, seed, fraud_rate, start=start, days=days).frames(with_kind=with_kind))
    schema = {**SCHEMA, "fraud_kind": FRAUD_KIND} if with_kind else SCHEMA
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)
