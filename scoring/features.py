"""From transactions to the model's input: look-ups of customers and merchants, codes, distance.

Everything that can be known before a transaction arrives is computed once per feature version, in arrays
that a batch indexes by row number.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.feature_tables import FeatureTables
from scoring.geography import haversine_km
from scoring.index import NameIndex
from scoring.lookup import Customers, Lookup
from scoring.transaction import Reason, Rejected, Transaction

MODEL_INPUTS = (
    "cc_num",
    "category",
    "amt",
    "merchant",
    "transaction_weekday",
    "transaction_month",
    "transaction_hour",
    "gender",
    "zip",
    "city_pop",
    "job",
    "age",
    "setting",
    "age_group",
    "distance_from_home",
)
_COLUMN = {name: i for i, name in enumerate(MODEL_INPUTS)}
CUSTOMER_COLUMNS = {
    "cc_num": "cc_num_code",
    "gender": "gender_code",
    "zip": "zip_code",
    "city_pop": "city_pop",
    "job": "job_code",
    "age": "age",
    "setting": "setting_code",
    "age_group": "age_group_code",
}
_MERCHANT_COLUMNS = {"category": "category_code", "merchant": "merchant_code"}
_CUSTOMER_PLACES = [_COLUMN[name] for name in CUSTOMER_COLUMNS]
_MERCHANT_PLACES = [_COLUMN[name] for name in _MERCHANT_COLUMNS]
# A merchant may be of a category that the dictionary lacks: the published merchants are of 16 kinds, the published
# dictionary has 14. It is then missing (NaN), for which every tree has a branch, and no code is made up.
MAY_BE_MISSING = {"category"}
_MARKS = frozenset({None, 0, 1})
_NUMBER_LIMIT = 256  # characters; a longer transaction number would make predictions that Kafka does not take
_NUMBER_LENGTHS = frozenset(range(1, _NUMBER_LIMIT + 1))
_ANY_DIGIT_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_AMOUNT_LIMIT = 1e12  # beyond it, an amount is a mistake of the sender; float32 still holds it


@dataclass
class Batch:
    """A batch of transactions that can be scored; every array has one entry per transaction."""

    number: list[str]
    """The transactions' own."""
    date: list[str]
    is_fraud: list[int | None]
    positions: list[int]
    """Among the messages of the batch."""
    customer: NDArray[np.intp]
    merchant: NDArray[np.intp]
    amount: NDArray[np.float64]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    category: NDArray[np.intp]
    """Number of the merchant's category, whether the dictionary has a code for it or not."""
    time: NDArray[np.int64]
    """Seconds since 1970 by the shop's clock."""
    date_code: NDArray[np.intp]
    distance_km: NDArray[np.float64]
    inputs: NDArray[np.float32]
    """The static inputs, [N, 15] in the order of `MODEL_INPUTS`."""

    def __len__(self) -> int:
        return len(self.number)

    def take(self, rows: NDArray[np.intp]) -> "Batch":
        """These rows of it."""

        def taken(column: Any) -> Any:
            return [column[row] for row in rows] if isinstance(column, list) else column[rows]

        return Batch(**{field.name: taken(getattr(self, field.name)) for field in fields(self)})


class Features:
    """All features of one version."""

    def __init__(self, tables: FeatureTables, customers: Customers | None = None):
        """Index the tables that the feature store gave.

        Args:
            tables: of the version.
            customers: where `tables` has not all of them.
        """
        self.version = tables.version
        self.merchants = tables.merchants
        self.dictionaries = tables.dictionaries
        self.customer = customers or Customers(tables.customers, CUSTOMER_COLUMNS)
        self.merchant = Lookup(_MERCHANT_COLUMNS, NameIndex(), MAY_BE_MISSING)
        self.merchant.add(self.merchants["merchant"].to_list(), self.merchants)
        names = self.merchants["category"].to_list()
        number = {name: i for i, name in enumerate(dict.fromkeys(names))}
        self._category = np.array([number[name] for name in names], np.intp)
        self._date_inputs, self.date_codes = self._date_table()
        self._date_known = np.array([codes is not None for codes in self.date_codes], bool)

    @property
    def numbering(self) -> str:
        """Where this is the same, so are the numbers of merchants, and the parts of customers and places in them."""
        return f"{self.version}/{self.customer.parts}"

    def _date_table(self) -> tuple[NDArray[np.float32], list[tuple[int, int, int] | None]]:
        """All 7 x 12 x 24 triples of (weekday, month, hour) with their codes; NaN where a dictionary lacks one."""
        weekdays, months, hours = (
            self.dictionaries[name] for name in ("transactionWeekDays", "transactionMonths", "transactionHours")
        )
        triples = [
            (weekdays.get(str(weekday)), months.get(str(month)), hours.get(f"{hour:02d}"))
            for weekday in range(7)
            for month in range(1, 13)
            for hour in range(24)
        ]
        inputs = np.array([[np.nan if code is None else code for code in t] for t in triples], np.float32)
        codes = [None if None in t else t for t in triples]
        return inputs, codes  # type: ignore[return-value]

    def build(self, rows: list[Transaction], positions: list[int]) -> tuple[Batch, dict[int, Rejected]]:
        """Look up and compute the model's input.

        Returns:
            The batch of all transactions that have every feature, and the others' reasons, by position.
        """
        rejected: dict[int, Rejected] = {}
        number = [row.trans_num for row in rows]
        date = [row.transaction_date for row in rows]
        is_fraud = [row.is_fraud for row in rows]
        dates = _parse_dates(date)
        customer = self.customer.rows([row.cc_num for row in rows])
        merchant = self.merchant.rows([row.merchant for row in rows])
        amount = np.array([row.amt for row in rows], np.float64)
        latitude = np.array([row.merch_lat for row in rows], np.float64)
        longitude = np.array([row.merch_long for row in rows], np.float64)
        date_code = _date_code(dates)
        good = (
            (np.abs(amount) <= _AMOUNT_LIMIT)
            & (np.abs(latitude) <= 90)
            & (np.abs(longitude) <= 180)
            & ~np.isnat(dates)
            & (customer >= 0)
            & (merchant >= 0)
            & ~self.customer.incomplete[customer]
            & ~self.merchant.incomplete[merchant]
            & self._date_known[date_code]
            & _answerable(number, is_fraud)
        )
        if not good.all():
            for i in np.flatnonzero(~good).tolist():
                rejected[positions[i]] = self._reason(rows[i], customer[i], merchant[i], dates[i])
            keep = np.flatnonzero(good)
            number, date = [number[i] for i in keep], [date[i] for i in keep]
            is_fraud, positions = [is_fraud[i] for i in keep], [positions[i] for i in keep]
            customer, merchant, amount = customer[keep], merchant[keep], amount[keep]
            latitude, longitude, date_code, dates = latitude[keep], longitude[keep], date_code[keep], dates[keep]
        distance = self._distance_km(customer, latitude, longitude)
        inputs = np.empty((len(number), len(MODEL_INPUTS)), np.float32)
        inputs[:, _CUSTOMER_PLACES] = self.customer.inputs.take(customer, axis=0)
        inputs[:, _MERCHANT_PLACES] = self.merchant.inputs.take(merchant, axis=0)
        inputs[:, _COLUMN["amt"]] = amount
        first = _COLUMN["transaction_weekday"]
        inputs[:, first : first + 3] = self._date_inputs.take(date_code, axis=0)
        inputs[:, _COLUMN["distance_from_home"]] = distance
        batch = Batch(
            number=number,
            date=date,
            is_fraud=is_fraud,
            positions=positions,
            customer=customer,
            merchant=merchant,
            amount=amount,
            latitude=latitude,
            longitude=longitude,
            category=self._category[merchant],
            time=dates.astype(np.int64),
            date_code=date_code,
            distance_km=distance,
            inputs=inputs,
        )
        return batch, rejected

    def _distance_km(
        self, customer: NDArray[np.intp], latitude: NDArray[np.float64], longitude: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Haversine distance between home and merchant."""
        return haversine_km(
            self.customer.latitude[customer],
            self.customer.longitude[customer],
            self.customer.cosine[customer],
            np.radians(latitude),
            np.radians(longitude),
        )

    def _reason(self, row: Transaction, customer: int, merchant: int, date: np.datetime64) -> Rejected:  # noqa: PLR0911
        """What is wrong with a transaction; the sender's mistakes before what we do not know."""
        if not row.trans_num:
            return Rejected(Reason.INVALID_VALUE, "trans_num is empty")
        if len(row.trans_num) > _NUMBER_LIMIT:
            return Rejected(Reason.INVALID_VALUE, f"trans_num is longer than {_NUMBER_LIMIT} characters")
        if row.is_fraud not in _MARKS:
            return Rejected(Reason.INVALID_VALUE, "is_fraud is neither 0 nor 1")
        if not abs(row.amt) <= _AMOUNT_LIMIT:
            return Rejected(Reason.INVALID_VALUE, f"amt is beyond {_AMOUNT_LIMIT:g}")
        if not (abs(row.merch_lat) <= 90 and abs(row.merch_long) <= 180):
            return Rejected(Reason.INVALID_VALUE, "merch_lat or merch_long is not on earth")
        if np.isnat(date):
            return Rejected(Reason.INVALID_VALUE, "transaction_date is not a date in the form yyyy-MM-dd HH:mm:ss")
        if customer < 0:
            return Rejected(Reason.UNKNOWN_CUSTOMER, "no customer has this card")
        if merchant < 0:
            return Rejected(Reason.UNKNOWN_MERCHANT, "no merchant has this name")
        if self.customer.incomplete[customer]:
            return Rejected(
                Reason.UNKNOWN_CODE,
                f"the dictionaries lack the customer's {self.customer.missing_codes(customer)}",
            )
        if self.merchant.incomplete[merchant]:
            return Rejected(
                Reason.UNKNOWN_CODE,
                f"the dictionaries lack the merchant's {self.merchant.missing_codes(merchant)}",
            )
        return Rejected(Reason.UNKNOWN_CODE, "the dictionaries lack the date's weekday, month or hour")


def _answerable(number: list[str], is_fraud: list[int | None]) -> NDArray[np.bool_]:
    """Which transactions have a number that a prediction can hold, and a mark of known fraud that is one."""
    if _NUMBER_LENGTHS.issuperset(map(len, number)) and _MARKS.issuperset(is_fraud):
        return np.ones(len(number), bool)
    pairs = zip(number, is_fraud, strict=True)
    return np.array([len(text) in _NUMBER_LENGTHS and mark in _MARKS for text, mark in pairs], bool)


def _parse_dates(dates: list[str]) -> NDArray[np.datetime64]:
    """Dates to datetime64[s]; NaT where the form is not `yyyy-MM-dd HH:mm:ss` or no such day exists."""
    if _have_the_form(dates):
        try:
            return np.array(dates, "datetime64[s]")
        except ValueError:
            pass  # one of them is no date: find out which, one by one
    return np.array([_parse_date(date) for date in dates], "datetime64[s]")


def _have_the_form(dates: list[str]) -> bool:
    """Whether each is `yyyy-MM-dd HH:mm:ss` with a digit for each letter; there was no year 0.

    NumPy takes more for dates: signs and spaces before the year, zones in place of seconds.
    """
    text = "".join(dates)
    if set(map(len, dates)) != {19} or "0000-" in text:
        return False
    return text.encode().translate(_ANY_DIGIT_TO_ZERO) == b"0000-00-00 00:00:00" * len(dates)


def _parse_date(date: str) -> np.datetime64:
    if not _have_the_form([date]):
        return np.datetime64("NaT", "s")
    try:
        return np.datetime64(date, "s")
    except ValueError:
        return np.datetime64("NaT", "s")


def _date_code(dates: NDArray[np.datetime64]) -> NDArray[np.intp]:
    """Row in the table of (weekday, month, hour); 0 for NaT, which is rejected elsewhere."""
    valid = ~np.isnat(dates)
    days = dates.astype("datetime64[D]").astype(np.int64)
    months = dates.astype("datetime64[M]").astype(np.int64)
    hours = dates.astype("datetime64[h]").astype(np.int64)
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
    code = (weekday * 12 + months % 12) * 24 + hours % 24
    return np.where(valid, code, 0).astype(np.intp)
