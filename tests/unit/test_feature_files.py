"""What a data directory becomes, and that what is wrong with it is named by file, line and column."""

from pathlib import Path

import pytest

from infra.errors import InputError
from infra.feature_tables import CUSTOMER_SCHEMA, MERCHANT_SCHEMA
from scoring.feature_files import read_feature_files
from simulator.population import simulate_population, write_population


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_population(simulate_population(50, 20, 1), tmp_path)
    return tmp_path


def edit(path: Path, line: int, old: str, new: str) -> None:
    lines = path.read_text().split("\n")
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("\n".join(lines))


def field(path: Path, line: int, column: int) -> str:
    return path.read_text().split("\n")[line - 1].split(",")[column]


def test_a_data_directory_becomes_typed_tables(data: Path):
    tables = read_feature_files(data)
    assert tables.customers.schema == CUSTOMER_SCHEMA
    assert tables.merchants.schema == MERCHANT_SCHEMA
    assert tables.customers.null_count().sum_horizontal().item() == 0
    assert tables.counts["customerMap"] == 50
    assert tables.counts["transactionHours"] == 24


def test_the_version_depends_on_the_content_alone(data: Path, tmp_path_factory: pytest.TempPathFactory):
    copy = tmp_path_factory.mktemp("copy")
    write_population(simulate_population(50, 20, 1), copy)
    version = read_feature_files(data).version
    assert read_feature_files(copy).version == version
    edit(copy / "customer_data.csv", 2, field(copy / "customer_data.csv", 2, 3), "X")
    assert read_feature_files(copy).version != version


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        (1, "", "is empty"),
        (1, "40 00", "is not a card number"),
        (9, "north", "is not a number from -90 to 90"),
        (9, "91", "is not a number from -90 to 90"),
        (10, "nan", "is not a number from -180 to 180"),
        (11, "1.5", "is not a whole number from 0"),
        (16, "-1", "is not a whole number from 0 to 150"),
        (4, "", "is empty"),
    ],
)
def test_a_bad_value_is_named_by_file_line_and_column(data: Path, column: int, value: str, problem: str):
    path = data / "customer_data.csv"
    name = field(path, 1, column)
    edit(path, 7, field(path, 7, column), value)
    with pytest.raises(InputError, match=f"customer_data.csv, line 7, column {name}: {problem}"):
        read_feature_files(data)


def test_the_line_is_right_behind_a_value_with_a_line_break(data: Path):
    path = data / "customer_data.csv"
    edit(path, 3, field(path, 3, 6), '"New\nTown"')
    edit(path, 8, field(path, 8, 16), "old")
    with pytest.raises(InputError, match="line 8, column age"):
        read_feature_files(data)


def test_a_card_that_comes_twice_is_refused_at_its_second_line(data: Path):
    path = data / "customer_data.csv"
    edit(path, 9, field(path, 9, 1), field(path, 4, 1))
    with pytest.raises(InputError, match="line 9, column cc_num: came before"):
        read_feature_files(data)


def test_a_row_with_a_value_too_many_is_named(data: Path):
    path = data / "customer_data.csv"
    edit(path, 5, field(path, 5, 6), "a,b")
    with pytest.raises(InputError, match="line 5: has 20 values; the header names 19"):
        read_feature_files(data)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("customer_data.csv", "cc_num,first\n1,a\n", "line 1: lacks the columns last"),
        ("customer_data.csv", "", "line 1: lacks the columns cc_num"),
        ("merchant_data.csv", "category,merchant_name\n", "has no rows"),
        ("merchant_data.csv", "\xff", "lacks the columns"),
        ("gender/gender_dict.json", "[]", "is not a JSON object"),
        ("gender/gender_dict.json", '{"F": "0"}', "the code of 'F' must be a whole number"),
        ("gender/gender_dict.json", '{"F": 16777216}', "the code of 'F' must be a whole number"),
        ("gender/gender_dict.json", "{", "is not a JSON object"),
    ],
)
def test_a_broken_file_is_named(data: Path, name: str, content: str, problem: str):
    (data / name).write_text(content)
    with pytest.raises(InputError, match=problem) as caught:
        read_feature_files(data)
    assert name in str(caught.value)


def test_a_missing_file_is_named(data: Path):
    (data / "zip" / "zip_dict.json").unlink()
    with pytest.raises(InputError, match=r"zip_dict\.json: cannot be read: No such file"):
        read_feature_files(data)
    with pytest.raises(InputError, match="is not a directory"):
        read_feature_files(data / "nowhere")


def test_a_value_that_the_dictionary_lacks_has_no_code(data: Path):
    path = data / "customer_data.csv"
    edit(path, 6, field(path, 6, 8), "00000")
    customer = read_feature_files(data).customers.row(4, named=True)
    assert customer["zip_code"] is None
    assert customer["gender_code"] is not None


def test_the_first_category_of_a_merchant_counts(data: Path):
    (data / "merchant_data.csv").write_text("category,merchant_name\nhome,A\ntravel,A\ntravel,B\n")
    merchants = read_feature_files(data).merchants
    assert merchants.select("merchant", "category").rows() == [("A", "home"), ("B", "travel")]


def test_the_reference_data_loads_unmodified(reference: Path):
    tables = read_feature_files(reference)
    assert tables.customers.height == 10_000
    assert tables.merchants.height == 787
    assert tables.customers["zip_code"].null_count() == 12
