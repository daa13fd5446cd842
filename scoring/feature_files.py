"""From the files of a data directory to feature tables, with every value checked.

A bad row stops the load and is named by file, line and column: a table with a hole in it would turn a
customer's transactions into dead letters, and nobody would know why.
"""

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from infra.errors import InputError
from infra.feature_tables import CUSTOMER_SCHEMA, MERCHANT_SCHEMA, FeatureTables

CUSTOMERS, MERCHANTS = "customer_data.csv", "merchant_data.csv"
# Only what scoring needs is read: social security and account numbers stay where they are.
_CUSTOMER_COLUMNS = (
    "cc_num", "first", "last", "gender", "city", "zip", "latitude", "longitude", "city_pop", "job", "age",
    "setting", "age_group",
)  # fmt: skip
_MERCHANT_COLUMNS = ("merchant_name", "category")

# Hazelcast map to the file that fills it. The codes of cards and merchants stand with the card and the merchant.
DICTIONARIES = {
    "ageGroups": "age-group/age_group_dict.json",
    "categories": "category/category_dict.json",
    "genders": "gender/gender_dict.json",
    "jobs": "job/job_dict.json",
    "settings": "setting/setting_dict.json",
    "transactionHours": "transaction_hour/transaction_hour_dict.json",
    "transactionMonths": "transaction_month/transaction_month_dict.json",
    "transactionWeekDays": "transaction_weekday/transaction_weekday_dict.json",
    "zipCodes": "zip/zip_dict.json",
}
_CARD_CODES = "cc_num/cc_num_dict.json"
_MERCHANT_CODES = "merchant/merchant_dict.json"
FILES = (CUSTOMERS, MERCHANTS, *DICTIONARIES.values(), _CARD_CODES, _MERCHANT_CODES)
"""Everything that is read, by its name below the data directory."""

# Part of every version: a change of what is made of the files makes new versions of old files.
_FORMAT = "1"


def read_feature_files(directory: Path) -> FeatureTables:
    """Read and check a data directory.

    Raises:
        InputError: a file is missing or broken, or a value in it cannot be used.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(directory, "is not a directory with customer_data.csv, merchant_data.csv and dictionaries")
    sha256 = {name: _sha256(directory / name) for name in sorted(FILES)}
    dictionaries = {name: _read_dictionary(directory / file) for name, file in DICTIONARIES.items()}
    return FeatureTables(
        version=hashlib.sha256(json.dumps([_FORMAT, sha256]).encode()).hexdigest()[:16],
        customers=_customers(directory / CUSTOMERS, dictionaries, _read_dictionary(directory / _CARD_CODES)),
        merchants=_merchants(directory / MERCHANTS, dictionaries, _read_dictionary(directory / _MERCHANT_CODES)),
        dictionaries=dictionaries,
        sha256=sha256,
        source=str(directory.resolve()),
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from error


def _read_dictionary(path: Path) -> dict[str, int]:
    try:
        codes = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(path, f'is not a JSON object {{"value": code}}: {error}') from error
    if not isinstance(codes, dict) or not codes:
        raise InputError(path, 'is not a JSON object {"value": code} with at least one entry')
    for value, code in codes.items():
        # float32, the type of the model's input, holds whole numbers up to 2**24 exactly.
        if type(code) is not int or not 0 <= code < 2**24:
            raise InputError(path, f"the code of {value!r} must be a whole number from 0 to {2**24 - 1}")
    return codes


def _customers(path: Path, dictionaries: dict[str, dict[str, int]], cards: dict[str, int]) -> pl.DataFrame:
    table = _Table(path, _CUSTOMER_COLUMNS)
    table.refuse(~pl.col("cc_num").str.contains(r"^[0-9A-Za-z]{1,64}$"), "cc_num", "is not a card number")
    table.refuse(pl.col("cc_num").is_duplicated() & ~pl.col("cc_num").is_first_distinct(), "cc_num", "came before")
    frame = table.frame
    return frame.select(
        card="cc_num",
        customer_name=pl.concat_str("first", "last", separator=" "),
        customer_city="city",
        customer_age_group="age_group",
        customer_gender="gender",
        customer_lat=table.number("latitude", pl.Float64, -90, 90),
        customer_lon=table.number("longitude", pl.Float64, -180, 180),
        city_pop=table.number("city_pop", pl.Int32, 0, 2**31 - 1),
        age=table.number("age", pl.Int32, 0, 150),
        cc_num_code=_coded(frame["cc_num"], cards),
        gender_code=_coded(frame["gender"], dictionaries["genders"]),
        zip_code=_coded(frame["zip"], dictionaries["zipCodes"]),
        job_code=_coded(frame["job"], dictionaries["jobs"]),
        setting_code=_coded(frame["setting"], dictionaries["settings"]),
        age_group_code=_coded(frame["age_group"], dictionaries["ageGroups"]),
    ).select(CUSTOMER_SCHEMA.names())


def _merchants(path: Path, dictionaries: dict[str, dict[str, int]], codes: dict[str, int]) -> pl.DataFrame:
    table = _Table(path, _MERCHANT_COLUMNS)
    # The reference data has merchants in two categories; a transaction names none, so the first one counts.
    frame = table.frame.unique("merchant_name", keep="first", maintain_order=True)
    return frame.select(
        merchant="merchant_name",
        category="category",
        merchant_code=_coded(frame["merchant_name"], codes),
        category_code=_coded(frame["category"], dictionaries["categories"]),
    ).select(MERCHANT_SCHEMA.names())


def _coded(values: pl.Series, codes: dict[str, int]) -> pl.Series:
    """The code of each value, Int32, null where there is none."""
    table = pl.DataFrame({"value": codes.keys(), "code": codes.values()}, schema={"value": pl.String, "code": pl.Int32})
    return pl.DataFrame({"value": values}).join(table, on="value", how="left", maintain_order="left")["code"]


class _Table:
    """A CSV as text, whose complaints name the line and the column."""

    def __init__(self, path: Path, columns: Sequence[str]):
        self._path = path
        header = self._header()
        missing = [name for name in columns if name not in header]
        if missing:
            raise InputError(path, f"lacks the columns {', '.join(missing)}", line=1)
        try:
            self.frame = pl.read_csv(path, infer_schema=False).select(columns).fill_null("")
        except pl.exceptions.PolarsError as error:
            raise self._broken(len(header), error) from error
        if self.frame.is_empty():
            raise InputError(path, "has no rows below its header")
        for name in columns:
            self.refuse(pl.col(name).str.strip_chars() == "", name, "is empty")

    def refuse(self, bad: pl.Expr, column: str, problem: str) -> None:
        """Raise InputError for the first row, if there is one, of which `bad` is true."""
        rows = self.frame.select(bad.fill_null(True).arg_true()).to_series()
        if len(rows):
            raise InputError(self._path, problem, line=self._line(rows[0]), column=column)

    def number(self, column: str, kind: type[pl.DataType], low: float, high: float) -> pl.Series:
        """A column as numbers within bounds."""
        number = pl.col(column).str.strip_chars().cast(kind, strict=False)
        what = "number" if kind == pl.Float64 else "whole number"
        self.refuse(~number.is_between(low, high), column, f"is not a {what} from {low} to {high}")
        return self.frame.select(number).to_series()

    def _header(self) -> list[str]:
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                return next(csv.reader(file), [])
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(self._path, f"is not a CSV in UTF-8: {error}") from error

    def _line(self, row: int) -> int:
        """The line of the file on which a row ends: a quoted value may have line breaks of its own."""
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for _ in range(row + 2):
                next(reader)
            return reader.line_num

    def _broken(self, width: int, error: Exception) -> InputError:
        """Why Polars cannot read the file: the first row that is no row of it, else Polars' own words."""
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, strict=True)
                for row in reader:
                    if row and len(row) != width:
                        problem = f"has {len(row)} values; the header names {width}"
                        return InputError(self._path, problem, line=reader.line_num)
        except (csv.Error, UnicodeDecodeError) as broken:
            return InputError(self._path, f"is not a CSV in UTF-8: {broken}", line=reader.line_num + 1)
        return InputError(self._path, f"is not a CSV that can be read: {error}")
