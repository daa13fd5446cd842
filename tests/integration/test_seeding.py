"""Seeding into a real Kafka: each row exactly once, in order per card, however often a try dies."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra import seeding
from infra.errors import InputError, TerminalError, TransientError
from infra.kafka import client_config, delete_topics
from infra.kafka_errors import lost_or_explained
from infra.seeding import newest_day, seed
from infra.settings import KafkaSettings, Settings
from infra.transaction_sources import SCHEMA, FrameSource, Source, open_source
from tests.kafka_log import read
from tests.waiting import until

pytestmark = pytest.mark.server

ROWS, CARDS = 10_000, 37


@pytest.fixture
def kafka(settings: Settings) -> KafkaSettings:
    return settings.kafka


@pytest.fixture(autouse=True)
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten transactions for the rows of a test."""
    monkeypatch.setattr(seeding, "COMMIT_ROWS", 1_000)


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    number = pl.int_range(ROWS)
    return pl.select(
        cc_num=4_000_000_000_000_000 + number % CARDS,
        trans_num=pl.format("t{}", number),
        amt=number / 4,
        merchant=pl.lit("Roberts, Daniel and Sons"),
        transaction_date=pl.lit("2025-03-04 05:06:07"),
        merch_lat=pl.lit(41.5),
        merch_long=pl.lit(-87.25),
        is_fraud=number % 2,
    ).cast(dict(SCHEMA))


@pytest.fixture(params=["csv", "parquet", "frames"])
def source(request, frame: pl.DataFrame, tmp_path: Path) -> Source:
    if request.param == "frames":
        return FrameSource(lambda skip: [frame.slice(skip)], ROWS, "frames")
    path = tmp_path / f"transactions.{request.param}"
    frame.write_csv(path) if request.param == "csv" else frame.write_parquet(path)
    return open_source(path)


@pytest.fixture
def csv(frame: pl.DataFrame, tmp_path: Path) -> Path:
    frame.write_csv(tmp_path / "transactions.csv")
    return tmp_path / "transactions.csv"


def in_topic(kafka: KafkaSettings) -> dict[bytes, list[dict]]:
    """What readers of committed records see, per key, in order; a key in two partitions fails."""
    rows: dict[bytes, list[dict]] = {}
    where: dict[bytes, int] = {}
    for message in read(kafka, kafka.topics.transactions):
        key = message.key()
        assert where.setdefault(key, message.partition()) == message.partition()
        rows.setdefault(key, []).append(json.loads(message.value()))
    return rows


def assert_each_once_in_order(kafka: KafkaSettings, frame: pl.DataFrame) -> None:
    found = in_topic(kafka)
    wanted: dict[bytes, list[dict]] = {}
    for row in frame.iter_rows(named=True):
        wanted.setdefault(str(row["cc_num"]).encode(), []).append(row)
    assert {key: len(rows) for key, rows in found.items()} == {key: len(rows) for key, rows in wanted.items()}
    assert found == wanted


class Died(Exception):
    pass


def dying_after(rows: int):
    def on_progress(sent: int, total: int | None) -> None:
        assert total == ROWS
        if sent >= rows:
            raise Died

    return on_progress


def test_every_row_once_in_the_order_of_its_card(kafka, source, frame):
    seeded = seed(kafka, source, "whole")
    assert (seeded.rows, seeded.resumed_from) == (ROWS, 0)
    assert_each_once_in_order(kafka, frame)


def test_a_try_that_dies_is_taken_up_where_it_ended(kafka, source, frame):
    for rows in (1_000, 1_001, 7_000):
        with pytest.raises(Died):
            seed(kafka, source, "again", on_progress=dying_after(rows))
    seeded = seed(kafka, source, "again")
    assert (seeded.rows, seeded.resumed_from) == (ROWS, 7_000)
    assert_each_once_in_order(kafka, frame)
    assert seed(kafka, source, "again").resumed_from == ROWS
    assert_each_once_in_order(kafka, frame)


def test_a_new_seeding_sends_the_rows_again(kafka, csv):
    seed(kafka, open_source(csv), "one")
    seed(kafka, open_source(csv), "two")
    counts = Counter(row["trans_num"] for rows in in_topic(kafka).values() for row in rows)
    assert set(counts.values()) == {2}
    assert len(counts) == ROWS


KILLED = """
import os, signal, sys
from pathlib import Path
from confluent_kafka import Producer
from infra import seeding
from infra.settings import Settings
from infra.transaction_sources import open_source

class Killed(Producer):
    commits = 0

    def commit_transaction(self, *args):
        self.commits += 1
        if self.commits == 4 and sys.argv[2] == "before":
            self.flush()  # every row of the transaction is in the log
            os.kill(os.getpid(), signal.SIGKILL)
        super().commit_transaction(*args)
        if self.commits == 4:
            os.kill(os.getpid(), signal.SIGKILL)

seeding.Producer, seeding.COMMIT_ROWS = Killed, 1_000
seeding.seed(Settings().kafka, open_source(Path(sys.argv[1])), "killed")
"""


@pytest.mark.parametrize(("moment", "committed"), [("before", 3_000), ("after", 4_000)])
def test_kill_9_around_a_commit_loses_and_doubles_nothing(kafka, csv, frame, moment, committed):
    done = subprocess.run([sys.executable, "-c", KILLED, str(csv), moment], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    seeded = seed(kafka, open_source(csv), "killed")
    assert (seeded.rows, seeded.resumed_from) == (ROWS, committed)
    assert_each_once_in_order(kafka, frame)


def test_a_try_that_still_lives_is_shut_out_by_the_next(kafka, csv, frame):
    def overtaken(sent: int, total: int | None) -> None:
        if sent == 2_000:
            assert seed(kafka, open_source(csv), "zombie").resumed_from == 2_000

    with pytest.raises(TransientError):
        seed(kafka, open_source(csv), "zombie", on_progress=overtaken)
    assert_each_once_in_order(kafka, frame)


def test_a_file_that_changed_between_tries_is_refused(kafka, csv):
    with pytest.raises(Died):
        seed(kafka, open_source(csv), "changed", on_progress=dying_after(5_000))
    with csv.open("rb+") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"7")
    with pytest.raises(TerminalError, match="Start a new one"):
        seed(kafka, open_source(csv), "changed")
    assert sum(map(len, in_topic(kafka).values())) == 5_000


def test_a_rate_makes_small_commits_at_intervals(kafka, frame):
    part = FrameSource(lambda skip: [frame[:600].slice(skip)], 600, "part")
    seen: list[int] = []
    seeded = seed(kafka, part, "paced", rate=800, on_progress=lambda rows, _: seen.append(rows))
    assert seen == [0, 200, 400, 600]  # a quarter of a second's rows each
    # The first is due at once and the others 0.25 s apart: no machine is so slow that it takes less.
    assert seeded.seconds >= 0.5
    assert_each_once_in_order(kafka, frame[:600])


def test_a_rate_of_nothing_is_refused(kafka, csv):
    with pytest.raises(TerminalError, match="above 0"):
        seed(kafka, open_source(csv), "none", rate=0)


def test_nothing_to_send_is_no_error(kafka):
    assert seed(kafka, FrameSource(lambda _: [], 0, "nothing"), "nothing").rows == 0


def test_a_row_too_large_to_send_is_named_and_rows_committed_before_it_stay(kafka, frame):
    large = frame[:2_500].with_columns(
        merchant=pl.when(pl.int_range(pl.len()) == 1_234).then(pl.lit("x" * 2_000_000)).otherwise("merchant")
    )
    with pytest.raises(InputError, match="row 1,235 cannot be sent"):
        seed(kafka, FrameSource(lambda skip: [large.slice(skip)], 2_500, "large"), "large")
    assert_each_once_in_order(kafka, frame[:1_000])


@pytest.mark.parametrize("during_the_commit", [False, True])
def test_rows_that_the_topic_does_not_take_are_an_error_that_no_retry_cures(kafka, during_the_commit, monkeypatch):
    def refused(producer: Producer) -> bool:
        with pytest.raises(KafkaException) as caught:
            producer.begin_transaction()
        return "InTransaction" not in str(caught.value)

    def commit(self, _position, _group, offsets_sent):
        until(lambda: refused(self._producer), what="the broker's answer")
        offsets_sent.set()
        raise KafkaException(KafkaError(KafkaError._STATE))  # seen where the answer comes in this moment

    if during_the_commit:
        monkeypatch.setattr(seeding._Seeding, "_commit", commit)
    name = f"{kafka.topics.transactions}-narrow"
    narrow = kafka.model_copy(update={"topics": kafka.topics.model_copy(update={"transactions": name})})
    row = pl.DataFrame([{"merchant": os.urandom(10_000).hex()}]).with_columns(
        pl.lit(None, kind).alias(column) for column, kind in SCHEMA.items() if column != "merchant"
    )
    topic = NewTopic(name, num_partitions=1, config={"max.message.bytes": "2000"})
    client = AdminClient(client_config(kafka))
    client.create_topics([topic])[name].result()
    try:
        with pytest.raises(TerminalError, match="Message size too large"):
            seed(narrow, FrameSource(lambda _: [row], 1, "narrow"), "narrow")
    finally:
        delete_topics(kafka, [name])


def test_a_broker_that_is_not_there_is_worth_another_try(csv, monkeypatch):
    monkeypatch.setattr(seeding, "REQUEST_TIMEOUT_SECONDS", 0.5)
    with pytest.raises(TransientError):
        seed(KafkaSettings(bootstrap_servers="127.0.0.1:1"), open_source(csv), "away")


def test_a_broker_that_stands_still_ends_the_try_in_time(kafka, frame, broker, monkeypatch):
    """What is open goes down with the producer; the next try shuts it out, and loses and doubles nothing."""
    source = FrameSource(lambda skip: [frame.slice(skip)], ROWS, "frozen")
    flowing = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(seed, kafka, source, "frozen", rate=1_000, on_progress=lambda n, _: n and flowing.set())
        assert flowing.wait(60)
        monkeypatch.setattr(seeding, "REQUEST_TIMEOUT_SECONDS", 2)
        monkeypatch.setattr(seeding, "TRANSACTION_TIMEOUT_SECONDS", 3)
        broker.suspend()
        try:
            assert isinstance(told.exception(60), TransientError)
        finally:
            broker.resume()
    monkeypatch.undo()
    seed(kafka, source, "frozen")
    assert_each_once_in_order(kafka, frame)


@pytest.mark.parametrize("code", [KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.MSG_SIZE_TOO_LARGE])
def test_a_refusal_is_for_a_person_even_where_librdkafka_calls_it_a_lost_transaction(code):
    refused = KafkaException(KafkaError(code, "no", fatal=True, txn_requires_abort=True))
    assert isinstance(lost_or_explained(refused, "x"), TerminalError)


def test_the_day_after_which_simulated_time_goes_on(kafka: KafkaSettings, frame: pl.DataFrame):
    assert newest_day(kafka) is None
    seed(kafka, FrameSource(lambda skip: [frame[skip:100]], 100, "some"), "some")
    assert newest_day(kafka) == date(2025, 3, 4)
    later = frame[:1].with_columns(transaction_date=pl.lit("2025-06-01 00:00:00"))
    seed(kafka, FrameSource(lambda skip: [later[skip:]], 1, "later"), "later")
    assert newest_day(kafka) == date(2025, 6, 1)
    producer = Producer(client_config(kafka))
    for value in (b"poison", b'{"transaction_date": "soon"}', b'{"transaction_date": "9999-12-30 00:00:00"}'):
        producer.produce(kafka.topics.transactions, value, partition=0)
    assert producer.flush(30) == 0
    assert newest_day(kafka) in {date(2025, 6, 1), date(2025, 3, 4)}, "what is no transaction has no say"
