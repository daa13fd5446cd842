"""Files as Kafka records: every row is sent as it stands, whatever its neighbours are like."""

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from infra import transaction_sources
from infra.errors import InputError
from infra.transaction_sources import COLUMNS, CsvSource, ParquetSource, Source, open_source

GOOD = {
    "cc_num": "4000000000000002",
    "trans_num": "t1",
    "amt": "12.5",
    "merchant": "Kilback LLC",
    "transaction_date": "2025-03-04 05:06:07",
    "merch_lat": "41.0",
    "merch_long": "-87.0",
    "is_fraud": "0",
}
TYPED = GOOD | {"cc_num": 4000000000000002, "amt": 12.5, "merch_lat": 41.0, "merch_long": -87.0, "is_fraud": 0}
HEADER = ",".join(COLUMNS)


def line(**changes: str) -> str:
    return ",".join((GOOD | changes).values())


@pytest.fixture
def csv(tmp_path: Path):
    def write(*lines: str | bytes, header: str = HEADER, end: bytes = b"\n") -> Source:
        path = tmp_path / "transactions.csv"
        rows = [text if isinstance(text, bytes) else text.encode() for text in (header, *lines)]
        path.write_bytes(end.join(rows) + end)
        return open_source(path)

    return write


def values(source: Source, skip: int = 0) -> list[bytes]:
    return [value for records in source.records(skip) for value in records.values]


def keys(source: Source) -> list[bytes]:
    return [key for records in source.records() for key in records.keys]


def rows(source: Source) -> list[dict]:
    return [json.loads(value) for value in values(source)]


def test_a_row_becomes_a_card_number_and_an_object_of_typed_columns(csv):
    source = csv(line())
    assert keys(source) == [b"4000000000000002"]
    assert rows(source) == [TYPED]
    assert list(rows(source)[0]) == list(COLUMNS)
    assert source.total == 1


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_quotes_byte_order_mark_line_ends_and_the_order_of_columns_do_not_matter(csv, end):
    header = "\ufeff" + ",".join(["", "is_fraud", "", *reversed(COLUMNS[:-1])])
    row = ",".join(["7", "1", "x", *reversed(list((GOOD | {"merchant": '"Roberts, ""Dan"" Ltd"'}).values())[:-1])])
    assert rows(csv(row, header=header, end=end)) == [TYPED | {"merchant": 'Roberts, "Dan" Ltd', "is_fraud": 1}]


def test_leading_zeros_of_a_card_stay(csv):
    source = csv(line(cc_num="0004000000000002"), line())
    assert [row["cc_num"] for row in rows(source)] == ["0004000000000002", 4000000000000002]
    assert keys(source) == [b"0004000000000002", b"4000000000000002"]


# The text of one field and what becomes of it.
ODD = [
    ("amt", "1_0.5", "1_0.5"),
    ("amt", "\u0661", "\u0661"),  # a one, in Arabic
    ("amt", "nan", "nan"),
    ("amt", "1e999", "1e999"),
    ("amt", "12,5", None),
    ("amt", "", None),
    ("amt", ".5", 0.5),
    ("amt", "1e3", 1000.0),
    ("amt", " 1.5", 1.5),
    ("is_fraud", "01", 1),
    ("is_fraud", "+1", 1),
    ("is_fraud", "yes", "yes"),
    ("cc_num", "x", "x"),
    ("cc_num", "", None),
    ("cc_num", "1" * 5000, "1" * 5000),
    ("cc_num", "9999999999999999999", 9999999999999999999),
    ("merchant", "", ""),
    ("merchant", '""', ""),
    ("merchant", 'a"b', 'a"b'),
    ("merchant", '"a\rb"', "a\rb"),
    ("transaction_date", "tomorrow", "tomorrow"),
]


@pytest.mark.parametrize(("column", "text", "wanted"), ODD)
def test_an_odd_value_is_kept_and_reads_the_same_beside_good_and_bad_rows(csv, column, text, wanted):
    odd = line(**{column: text})
    (alone,) = values(csv(odd))
    assert values(csv(line(), odd, line())) == [*values(csv(line())), alone, *values(csv(line()))]
    assert values(csv(odd, "bad"))[0] == alone
    if text == "12,5":
        assert alone == odd.encode()  # nine fields: not a row, so the line itself
    else:
        assert json.loads(alone)[column] == wanted


@pytest.mark.parametrize(
    "bad",
    [
        b"4000000000000002,t9",
        b"not a row",
        line().encode() + b",more",
        line(merchant="x").encode().replace(b"x", b"\xff"),
    ],
)
def test_what_is_no_row_is_sent_as_the_line_it_is(csv, bad):
    assert values(csv(line(), bad, line())) == [*values(csv(line())), bad, *values(csv(line()))]


def test_a_quote_that_is_never_closed_spoils_its_own_row_only(csv):
    """Read as the format allows it, a quote swallows all lines up to the next one."""
    opened, closed = line(merchant='"Foo'), line(trans_num="t3", merchant='Bar"')
    sent = values(csv(opened, line(trans_num="t2"), closed))
    assert sent[0] == opened.encode()
    assert [json.loads(value)["trans_num"] for value in sent[1:]] == ["t2", "t3"]


def test_a_row_that_lacks_a_trailing_column_nobody_reads_is_a_row(csv):
    full, short = line() + ",note", line()
    assert rows(csv(full, short, header=HEADER + ",remark")) == [TYPED, TYPED]
    assert values(csv(full, short, "bad", header=HEADER + ",remark"))[:2] == values(csv(line(), line()))


def test_blank_lines_are_no_rows(csv):
    assert rows(csv(line(), "", "  ", line())) == [TYPED, TYPED]


@pytest.mark.parametrize("skip", [0, 1, 4, 5, 9, 10, 11])
def test_reading_can_start_after_any_row_wherever_the_pieces_are_cut(csv, monkeypatch, skip):
    lines = [line(trans_num=f"t{n}") if n != 4 else "bad" for n in range(10)]
    whole = values(csv(*lines))
    monkeypatch.setattr(transaction_sources, "CSV_PIECE_BYTES", 150)  # about two rows
    assert values(csv(*lines)) == whole
    assert values(csv(*lines), skip) == whole[skip:]


def test_missing_and_doubled_columns_are_named(csv):
    with pytest.raises(InputError, match=r"transactions\.csv, line 1: lacks the columns amt, merch_long"):
        csv(header="cc_num,trans_num,merchant,transaction_date,merch_lat,is_fraud")
    with pytest.raises(InputError, match="column amt: is there more than once"):
        csv(header=HEADER + ",amt")


def test_fraud_need_not_be_known(csv, tmp_path: Path):
    """Most transactions of a bank are not labelled; that is no reason to read their file row by row."""
    header = ",".join(name for name in COLUMNS if name != "is_fraud")
    unlabelled = csv(line(is_fraud="").removesuffix(","), header=header)
    assert unlabelled._well_formed(line(is_fraud="").removesuffix(",").encode() + b"\n") is not None
    expected = {name: value for name, value in TYPED.items() if name != "is_fraud"}
    assert rows(unlabelled) == [expected]
    assert json.loads(values(csv(line(is_fraud="").removesuffix(","), "bad", header=header))[0]) == expected
    some = csv(line(), line(is_fraud=""))
    assert some._well_formed(f"{line()}\n{line(is_fraud='')}\n".encode()) is not None
    assert rows(some) == [TYPED, TYPED | {"is_fraud": None}]
    path = tmp_path / "transactions.parquet"
    pl.DataFrame([expected]).write_parquet(path)
    assert rows(open_source(path)) == [expected]


def test_a_file_that_cannot_be_a_csv_is_told_at_once(tmp_path: Path):
    empty = tmp_path / "empty.csv"
    empty.touch()
    with pytest.raises(InputError, match="lacks the columns"):
        open_source(empty)
    with pytest.raises(InputError, match="No such file"):
        open_source(tmp_path / "nowhere.csv")


def test_a_header_alone_is_no_transactions(csv):
    source = csv()
    assert (source.total, values(source)) == (0, [])


def test_a_change_anywhere_in_a_file_changes_its_identity(csv):
    first = csv(*[line()] * 20_000, line(amt="1.25")).identity
    assert csv(*[line()] * 20_000, line(amt="1.25")).identity == first
    assert csv(*[line()] * 20_000, line(amt="1.26")).identity != first


def test_parquet_gives_the_records_that_the_same_csv_does(csv, tmp_path: Path, monkeypatch):
    lines = [line(trans_num=f"t{n}", amt=f"{n}.25") for n in range(25)]
    text = csv(*lines)
    path = tmp_path / "transactions.parquet"
    pl.read_csv(text._path, schema=transaction_sources.SCHEMA).write_parquet(path)
    monkeypatch.setattr(transaction_sources, "FRAME_ROWS", 10)
    table = open_source(path)
    assert isinstance(table, ParquetSource)
    assert isinstance(text, CsvSource)
    assert (table.total, values(table), keys(table)) == (25, values(text), keys(text))
    for skip in (3, 10, 25):
        assert values(table, skip) == values(text)[skip:]


def test_parquet_may_have_timestamps_decimals_and_cards_as_text(tmp_path: Path):
    path = tmp_path / "transactions.parquet"
    row = TYPED | {
        "cc_num": "4000000000000002",
        "amt": Decimal("12.50"),
        "transaction_date": datetime(2025, 3, 4, 5, 6, 7),  # noqa: DTZ001
        "other": "x",
    }
    pl.DataFrame([row]).write_parquet(path)
    assert rows(open_source(path)) == [TYPED]


def test_a_parquet_file_that_does_not_fit_is_told_at_once(tmp_path: Path):
    path = tmp_path / "transactions.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(InputError, match="is not a Parquet file that can be read"):
        open_source(path)
    pl.DataFrame([TYPED]).drop("amt").write_parquet(path)
    with pytest.raises(InputError, match="lacks the columns amt"):
        open_source(path)
    pl.DataFrame([TYPED | {"amt": [1.0]}]).write_parquet(path)
    with pytest.raises(InputError, match="column amt: holds List"):
        open_source(path)
