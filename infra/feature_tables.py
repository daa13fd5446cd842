"""The features of one version as tables: what files are read into, Hazelcast keeps and scorers look up."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.hazelcast import CUSTOMERS, MERCHANTS
from infra.partitioner import shares

MAX_CARD_DIGITS = 19  # ISO/IEC 7812: the longest card number

CUSTOMER_SCHEMA = pl.Schema(
    {
        "card": pl.String,
        "customer_name": pl.String,
        "customer_city": pl.String,
        "customer_age_group": pl.String,
        "customer_gender": pl.String,
        "customer_lat": pl.Float64,
        "customer_lon": pl.Float64,
        "city_pop": pl.Int32,
        "age": pl.Int32,
        "cc_num_code": pl.Int32,
        "gender_code": pl.Int32,
        "zip_code": pl.Int32,
        "job_code": pl.Int32,
        "setting_code": pl.Int32,
        "age_group_code": pl.Int32,
    }
)
MERCHANT_SCHEMA = pl.Schema(
    {"merchant": pl.String, "category": pl.String, "merchant_code": pl.Int32, "category_code": pl.Int32}
)


@dataclass(frozen=True)
class FeatureTables:
    """Customers, merchants and dictionaries of one version.

    Attributes:
        version: 16 hex digits that depend on the content alone: equal files have equal versions.
        customers: one row per card, `CUSTOMER_SCHEMA`; a code is null where the dictionary lacks the value.
        merchants: one row per merchant, `MERCHANT_SCHEMA`.
        dictionaries: Hazelcast map name (`genders`, `transactionHours`, ...) to value to code.
        sha256: of each file, by its name below the data directory.
        source: the data directory.
    """

    version: str
    customers: pl.DataFrame
    merchants: pl.DataFrame
    dictionaries: dict[str, dict[str, int]]
    sha256: dict[str, str]
    source: str

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each Hazelcast map."""
        return {CUSTOMERS: self.customers.height, MERCHANTS: self.merchants.height} | {
            name: len(codes) for name, codes in self.dictionaries.items()
        }


def card_key(card: int | str) -> int | str:
    """One form for the same card written as a JSON number or as a string of digits."""
    if isinstance(card, int):
        return card
    return int(card) if card.isdecimal() and card.isascii() and len(card) <= MAX_CARD_DIGITS else card


def parts_of(keys: Iterable[int | str], count: int) -> NDArray[np.intp]:
    """In which of `count` parts of the customers each card is, by its `card_key`.

    Cards of one part are in one partition of Kafka, where the number of partitions divides the number of parts.
    """
    return shares([str(key).encode() for key in keys], count)
