"""People with cards, and the shops they go to. Nobody and nothing here exists."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from infra.errors import InputError
from simulator import words
from simulator.places import PLACES, RURAL_BELOW
from simulator.vocabulary import (
    AGE_GROUPS,
    CATEGORIES,
    CUSTOMER_COLUMNS,
    DICTIONARY_FILES,
    GENDERS,
    HOURS,
    MERCHANT_COLUMNS,
    MONTHS,
    SETTINGS,
    WEEKDAYS,
)

# 4000 00 is the range that payment providers give out for tests; no bank issues it. Below 2**53, so that a
# reader that keeps JSON numbers as doubles still sees the exact number.
CARD_PREFIX = 400_000
_CARD_PAYLOADS = 10**9  # digits 7 to 15; the 16th is the check digit
_AGES_AS_OF = date(2025, 1, 1)
_RURAL_SHARE = 0.045  # of the reference data's customers
# Share of customers by age bracket (from, to inclusive); close to the reference data.
_AGE_BRACKETS = ((16, 25, 0.107), (26, 35, 0.167), (36, 45, 0.160), (46, 55, 0.180), (56, 92, 0.386))


@dataclass(frozen=True)
class Population:
    """Customers, merchants and the dictionaries for every value that occurs among them.

    Attributes:
        customers: one row per customer, the columns of `customer_data.csv` in its order.
        merchants: one row per merchant, `category` and `merchant_name`; names are unique.
        dictionaries: folder name (`age-group`, ...) to value to code.
    """

    customers: pl.DataFrame
    merchants: pl.DataFrame
    dictionaries: dict[str, dict[str, int]]


def simulate_population(customers: int, merchants: int, seed: int) -> Population:
    """Make a population; the same arguments make the same one."""
    if not 1 <= customers <= _CARD_PAYLOADS or merchants < len(CATEGORIES):
        raise ValueError(f"at least one customer and {len(CATEGORIES)} merchants (one per category) are needed")
    people = _customers(customers, np.random.default_rng([seed, 1]))
    shops = _merchants(merchants, np.random.default_rng([seed, 2]))
    return Population(people, shops, dictionaries_for(people, shops))


def dictionaries_for(customers: pl.DataFrame, merchants: pl.DataFrame) -> dict[str, dict[str, int]]:
    """The dictionaries of a population: fixed codes, and numbers for the values that occur, sorted."""
    return {
        "age-group": AGE_GROUPS,
        "category": CATEGORIES,
        "cc_num": _numbered(customers["cc_num"]),
        "gender": GENDERS,
        "job": _numbered(customers["job"]),
        "merchant": _numbered(merchants["merchant_name"]),
        "setting": SETTINGS,
        "transaction_hour": HOURS,
        "transaction_month": MONTHS,
        "transaction_weekday": WEEKDAYS,
        "zip": _numbered(customers["zip"]),
    }


def write_population(population: Population, directory: Path) -> None:
    """Write the files of a data directory, as load-features reads them."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    population.customers.write_csv(directory / "customer_data.csv")
    population.merchants.write_csv(directory / "merchant_data.csv")
    for folder, codes in population.dictionaries.items():
        (directory / folder).mkdir(exist_ok=True)
        (directory / folder / DICTIONARY_FILES[folder]).write_text(json.dumps(codes))


def read_population(directory: Path) -> Population:
    """The population in a data directory: one of ours, or anybody's in the same format.

    Raises:
        InputError: a file of it is missing, or lacks a column.
    """
    directory = Path(directory)
    customers = _read(directory / "customer_data.csv", CUSTOMER_COLUMNS)
    merchants = _read(directory / "merchant_data.csv", MERCHANT_COLUMNS)
    return Population(customers, merchants, dictionaries_for(customers, merchants))


def _read(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    try:
        frame = pl.read_csv(path, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(path, f"cannot be read: {error}") from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InputError(path, f"lacks the columns {', '.join(missing)}", line=1)
    return frame.select(columns)


def card_numbers(count: int, rng: np.random.Generator) -> np.ndarray:
    """Unique 16-digit test card numbers with a right check digit, int64 [count]."""
    # A step that shares no factor with the modulus, a power of ten, comes to every payload once: unique
    # without a look-up. One that ends in 3 does.
    step = int(rng.integers(_CARD_PAYLOADS // 10)) * 10 + 3
    payload = (int(rng.integers(_CARD_PAYLOADS)) + step * np.arange(count, dtype=np.int64)) % _CARD_PAYLOADS
    body = CARD_PREFIX * _CARD_PAYLOADS + payload  # 15 digits
    return body * 10 + luhn_digit(body)


def luhn_digit(body: np.ndarray) -> np.ndarray:
    """The check digit that ISO/IEC 7812 wants after each number of `body`, int64, same shape."""
    total = np.zeros_like(body)
    rest = body.copy()
    double = True
    while rest.any():
        digit = rest % 10 * (2 if double else 1)
        total += digit // 10 + digit % 10
        rest //= 10
        double = not double
    return -total % 10


def _numbered(values: pl.Series) -> dict[str, int]:
    return {str(value): code for code, value in enumerate(values.unique().sort().to_list())}


def _pick(rng: np.random.Generator, values: Sequence[str], count: int) -> np.ndarray:
    return np.asarray(values, dtype=object)[rng.integers(len(values), size=count)]


def _customers(count: int, rng: np.random.Generator) -> pl.DataFrame:
    place = _places(count, rng)
    low, high, share = (np.array(column) for column in zip(*_AGE_BRACKETS, strict=True))
    bracket = rng.choice(len(share), size=count, p=share / share.sum())
    # Two draws, the smaller one: the oldest bracket thins out with age as real ones do.
    spread = np.minimum(rng.random(count), np.where(bracket == len(share) - 1, rng.random(count), 1.0))
    age = (low[bracket] + np.floor(spread * (high[bracket] - low[bracket] + 1))).astype(np.int64)
    female = rng.random(count) < 0.503
    population = np.array([p.population for p in PLACES])[place]
    first_zip = np.array([p.zip for p in PLACES])
    zips = np.array([p.zips for p in PLACES])[place]
    return pl.DataFrame(
        {
            # Areas 900 and above with these groups are neither social-security nor taxpayer numbers.
            "ssn": _joined(
                rng.integers(900, 1000, count), rng.integers(10, 50, count), rng.integers(1000, 10_000, count)
            ),
            "cc_num": card_numbers(count, rng),
            "first": np.where(
                female, _pick(rng, words.FEMALE_NAMES, count), _pick(rng, words.MALE_NAMES, count)
            ),
            "last": _pick(rng, words.LAST_NAMES, count),
            "gender": np.where(female, "F", "M"),
            "street": _streets(count, rng),
            "city": np.array([p.city for p in PLACES], dtype=object)[place],
            "state": np.array([p.state for p in PLACES], dtype=object)[place],
            "zip": first_zip[place] + np.floor(rng.random(count) * zips).astype(np.int64),
            "latitude": np.round(
                np.array([p.latitude for p in PLACES])[place] + 0.04 * rng.standard_normal(count), 4
            ),
            "longitude": np.round(
                np.array([p.longitude for p in PLACES])[place] + 0.05 * rng.standard_normal(count), 4
            ),
            "city_pop": population,
            "job": _pick(rng, words.JOBS, count),
            "dob": _births(age, rng),
            "acct_num": rng.integers(10**11, 10**12, count),
            "age": age,
        },
        schema_overrides=dict.fromkeys(("first", "last", "city", "state", "job"), pl.String),
    ).with_columns(
        setting=pl.when(pl.col("city_pop") < RURAL_BELOW).then(pl.lit("rural")).otherwise(pl.lit("urban")),
        age_group=age_group(pl.col("age")),
    ).with_columns(
        profile=pl.concat_str(
            pl.when(pl.col("age") <= 25)
            .then(pl.lit("young_adults"))
            .when(pl.col("age") <= 50)
            .then(pl.lit("adults_2550"))
            .otherwise(pl.lit("adults_50up")),
            pl.when(pl.col("gender") == "F").then(pl.lit("_female_")).otherwise(pl.lit("_male_")),
            pl.col("setting"),
            pl.lit(".json"),
        )
    ).select(CUSTOMER_COLUMNS)  # fmt: skip


def age_group(age: pl.Expr) -> pl.Expr:
    """The age group that the reference data set gives an age in years."""
    return (
        pl.when(age <= 25)
        .then(pl.lit("Under 25"))
        .when(age <= 35)
        .then(pl.lit("26-35"))
        .when(age <= 45)
        .then(pl.lit("36-45"))
        .when(age <= 55)
        .then(pl.lit("46-55"))
        .otherwise(pl.lit("Over 55"))
    )


def _places(count: int, rng: np.random.Generator) -> np.ndarray:
    population = np.array([p.population for p in PLACES], dtype=float)
    rural = population < RURAL_BELOW
    # The square root keeps the largest cities from swallowing everybody.
    weight = np.sqrt(population)
    weight[rural] *= _RURAL_SHARE / weight[rural].sum()
    weight[~rural] *= (1 - _RURAL_SHARE) / weight[~rural].sum()
    return rng.choice(len(PLACES), size=count, p=weight / weight.sum())


def _joined(area: np.ndarray, group: np.ndarray, serial: np.ndarray) -> pl.Series:
    parts = pl.DataFrame({"a": area, "g": group, "s": serial})
    return parts.select(pl.concat_str("a", "g", "s", separator="-")).to_series()


def _streets(count: int, rng: np.random.Generator) -> pl.Series:
    parts = pl.DataFrame(
        {
            "number": rng.integers(1, 9999, count),
            "name": _pick(rng, words.STREET_NAMES, count),
            "ending": _pick(rng, words.STREET_ENDINGS, count),
        },
        schema_overrides={"name": pl.String, "ending": pl.String},
    )
    return parts.select(pl.concat_str("number", "name", "ending", separator=" ")).to_series()


def _births(age: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Birth dates, ISO text, of people who have these ages at the start of 2025."""
    year = (np.datetime64(str(_AGES_AS_OF.year - 1), "Y") - age.astype("timedelta64[Y]")).astype("datetime64[D]")
    # Day 1 to 364 of a year, 365.25 days being a year: born on any of them, they are `age` on 1 January.
    return np.datetime_as_string(year + rng.integers(1, 365, len(age)).astype("timedelta64[D]"))


def _merchants(count: int, rng: np.random.Generator) -> pl.DataFrame:
    names: dict[str, None] = {}
    while len(names) < count:
        shop = rng.choice(np.asarray(words.SHOP_NAMES, dtype=object), size=(3, count))
        form = rng.random(count)
        ending = rng.choice(np.asarray(words.SHOP_ENDINGS, dtype=object), size=count)
        for a, b, c, f, e in zip(*shop, form, ending, strict=True):
            names[f"{a} {e}" if f < 0.35 else f"{a}-{b}" if f < 0.6 else f"{a}, {b} and {c}"] = None
    kinds = list(CATEGORIES)
    return pl.DataFrame(
        {
            "category": [kinds[i % len(kinds)] for i in range(count)],
            "merchant_name": list(names)[:count],
        }
    ).sort("category", maintain_order=True).select(MERCHANT_COLUMNS)  # fmt: skip
