"""The simulator: the same rows for the same arguments, known fraud, and nobody's real card."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from cli.main import app
from cli.simulate import simulate
from infra.errors import TerminalError
from infra.transaction_sources import open_source
from simulator.demo import ensure_demo_data
from simulator.fraud import KINDS
from simulator.population import Population, read_population, simulate_population, write_population
from simulator.transactions import SCHEMA, Simulation, simulate_transactions

COUNT = 250_000  # more than two blocks


@pytest.fixture(scope="module")
def population() -> Population:
    return simulate_population(2_000, 100, 1)


@pytest.fixture(scope="module")
def transactions(population: Population) -> pl.DataFrame:
    return simulate_transactions(population, COUNT, 7, 0.02, with_kind=True)


def test_the_same_arguments_give_the_same_rows_wherever_reading_starts(population, transactions):
    simulation = Simulation(simulate_population(2_000, 100, 1), COUNT, 7, 0.02)
    for skip in (0, 1, 99_999, 120_000, COUNT - 1):
        assert_frame_equal(pl.concat(simulation.frames(skip, with_kind=True)), transactions.slice(skip))
    assert list(simulation.frames(COUNT)) == []
    assert not simulate_transactions(population, COUNT, 8, 0.02)["trans_num"].equals(transactions["trans_num"])


def test_rows_are_as_many_as_asked_for_in_time_order_with_unique_numbers(transactions):
    assert transactions.height == COUNT
    assert transactions["transaction_date"].is_sorted()
    assert transactions["trans_num"].n_unique() == COUNT


def test_the_share_of_fraud_is_the_one_asked_for_and_all_kinds_are_there(transactions):
    fraud = transactions.filter(pl.col("is_fraud") == 1)
    assert fraud.height == COUNT * 0.02
    assert dict(fraud["fraud_kind"].value_counts().iter_rows()) == dict.fromkeys(KINDS, COUNT * 0.02 / 4)
    assert len(KINDS) >= 4
    assert transactions.filter(pl.col("is_fraud") == 0)["fraud_kind"].null_count() == COUNT * 0.98


@pytest.mark.parametrize(("count", "rate"), [(0, 0.5), (1, 0.0), (1, 1.0), (3, 0.5), (1_000, 1.0), (1_000, 0.0)])
def test_small_and_one_sided_runs_have_their_rows_too(population, count, rate):
    rows = simulate_transactions(population, count, 1, rate)
    assert (rows.height, rows["is_fraud"].sum()) == (count, round(count * rate))
    assert rows.schema == SCHEMA


def test_every_purchase_is_of_a_customer_at_a_merchant_of_the_population(population, transactions):
    assert transactions["cc_num"].is_in(population.customers["cc_num"].to_list()).all()
    assert transactions["merchant"].is_in(population.merchants["merchant_name"].to_list()).all()
    assert transactions.null_count().drop("fraud_kind").row(0) == (0,) * len(SCHEMA)


def test_cards_are_test_numbers_with_a_right_check_digit(population):
    cards = population.customers["cc_num"]
    assert cards.n_unique() == cards.len()
    for card in map(str, cards):
        # 4000 00 is the test range: no bank issues it.
        assert len(card) == 16
        assert card.startswith("400000")
        assert luhn(card)


def luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    digits = [int(d) for d in reversed(number)]
    return (sum(digits[::2]) + sum(sum(divmod(2 * d, 10)) for d in digits[1::2])) % 10 == 0


def test_luhn_knows_a_published_number():
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")


def test_identity_differs_wherever_rows_do(population):
    same = Simulation(simulate_population(2_000, 100, 1), 1_000, 1).identity
    assert Simulation(population, 1_000, 1).identity == same
    others = {
        Simulation(population, 1_001, 1).identity,
        Simulation(population, 1_000, 2).identity,
        Simulation(population, 1_000, 1, 0.1).identity,
        Simulation(population, 1_000, 1, days=30).identity,
        Simulation(simulate_population(2_000, 100, 2), 1_000, 1).identity,
        Simulation(simulate_population(2_000, 101, 1), 1_000, 1).identity,
    }
    assert len(others | {same}) == 7


def test_files_have_the_columns_and_formats_of_the_reference(population, tmp_path: Path, reference: Path):
    write_population(population, tmp_path)
    simulate_transactions(population, 5_000, 1).write_csv(tmp_path / "1k-transactions.csv")
    for name in ("customer_data.csv", "merchant_data.csv", "1k-transactions.csv"):
        ours, theirs = pl.read_csv(tmp_path / name), pl.read_csv(reference / name)
        assert ours.schema == theirs.schema, name
        for column in ("ssn", "gender", "state", "dob", "profile", "setting", "age_group", "transaction_date"):
            if column in ours.columns:
                assert shapes(ours[column]) <= shapes(theirs[column]), column
    folders = {path.relative_to(reference).as_posix() for path in reference.glob("*/*_dict.json")}
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*.json")} == folders
    for small in ("age-group", "gender", "setting", "transaction_hour", "transaction_month", "transaction_weekday"):
        (ours,), (theirs,) = (tmp_path / small).iterdir(), (reference / small).iterdir()
        assert pl.read_json(ours).to_dicts() == pl.read_json(theirs).select(pl.read_json(ours).columns).to_dicts()


def shapes(values: pl.Series) -> set[str]:
    """The values with each digit as 9; of texts with two values or more, the values."""
    return set(values.str.replace_all(r"\d", "9").unique())


def test_a_population_comes_back_from_its_files(population, tmp_path: Path):
    write_population(population, tmp_path)
    again = read_population(tmp_path)
    assert_frame_equal(again.customers, population.customers)
    assert_frame_equal(again.merchants, population.merchants)
    assert Simulation(again, 10, 1).identity == Simulation(population, 10, 1).identity


def test_demo_data_is_made_once(tmp_path: Path):
    made = ensure_demo_data(tmp_path / "demo", customers=20, merchants=14)
    (made / "customer_data.csv").write_text("mine")
    assert ensure_demo_data(tmp_path / "demo") == made
    assert (made / "customer_data.csv").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_amounts_are_whole_cents_above_zero(transactions):
    amounts = transactions["amt"].to_numpy()
    assert (amounts > 0).all()
    assert np.allclose(amounts * 100, np.round(amounts * 100), atol=1e-6)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_command_writes_files_that_seeding_reads(tmp_path: Path, kind):
    arguments = ["simulate", "--out", str(tmp_path), "--customers", "50", "--merchants", "14", "--format", kind]
    done = CliRunner().invoke(app, [*arguments, "--transactions", "120000", "--fraud-rate", "0.1"])
    assert done.exit_code == 0, done.output
    source = open_source(tmp_path / f"transactions.{kind}")
    sent = [value for records in source.records() for value in records.values]
    assert source.total == len(sent) == 120_000
    assert sum(b'"is_fraud":1' in value for value in sent) == 12_000
    assert read_population(tmp_path).customers.height == 50
    assert not list(tmp_path.glob("*.part"))


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(TerminalError, match=r"cannot write to .*file/x"):
        simulate(tmp_path / "file" / "x", customers=10, merchants=14, transactions=5)
    (tmp_path / "transactions.csv").mkdir()
    with pytest.raises(TerminalError, match=r"cannot write .*transactions\.csv"):
        simulate(tmp_path, customers=10, merchants=14, transactions=5)
    assert not (tmp_path / "transactions.csv.part").exists()
    (tmp_path / "transactions.csv.part").mkdir()
    with pytest.raises(TerminalError, match=r"cannot write .*transactions\.csv"):
        simulate(tmp_path, customers=10, merchants=14, transactions=5)
