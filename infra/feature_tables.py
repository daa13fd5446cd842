"""The features of one version as tables: what files are read into, Hazelcast keeps and scorers look up."""

from dataclasses import dataclass

import polars as pl

from infra.hazelcast import CUSTOMERS, MERCHANTS

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
