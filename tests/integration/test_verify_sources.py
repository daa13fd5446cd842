"""What the verifier makes of the word that an answer gives for its source."""

import hashlib
import json

import numpy as np
import pytest

from infra.settings import Settings
from infra.topic_reader import TopicReader
from tests.integration.written import ROWS, Log, answer, found
from tests.kafka_log import grow
from verify.baseline import Baseline
from verify.named import Named
from verify.verification import Options, verify


@pytest.fixture
def log(settings: Settings) -> Log:
    return Log(settings)


def test_predictions_that_name_each_others_transactions(log: Log):
    log.transactions()
    log.answers(range(ROWS - 2))
    log.answers([ROWS - 2], transaction_number=f"t{ROWS - 1}")
    log.answers([ROWS - 1], transaction_number=f"t{ROWS - 2}")
    log.commit(ROWS)
    letters, verdict = found(log)
    assert letters == "A"
    assert verdict.of("A").offenders == [
        f"answered under another transaction's number: partition 0 offset {offset}" for offset in (ROWS - 2, ROWS - 1)
    ]


def test_a_dead_letter_that_is_of_another_value(log: Log):
    values = [b"{", b"[", json.dumps({"trans_num": "t2"}).encode()]
    log.send(log.topics.transactions, values)
    for offset, value in enumerate([values[0], values[0], values[2]]):
        log.letter(offset, value_sha256=hashlib.sha256(value).hexdigest())
    log.commit(3)
    letters, verdict = found(log)
    assert letters == "A"
    assert verdict.of("A").offenders == ["a dead letter of another value than stands there: partition 0 offset 1"]


def test_a_prediction_to_what_is_no_transaction(log: Log):
    log.send(log.topics.transactions, [{"trans_num": "t0"}, {"row": 1}, b"{"])
    log.answers(range(3))
    log.commit(3)
    letters, verdict = found(log)
    assert (letters, verdict.of("A").violations) == ("A", 2)


def test_a_number_is_not_compared_where_retention_took_the_transaction(log: Log):
    log.transactions()
    log.answers(range(5), transaction_number="another")
    log.answers(range(5, ROWS))
    log.commit(ROWS)
    log.delete_before(log.topics.transactions, 5)
    letters, verdict = found(log)
    assert letters == ""
    assert "5 answers are to transactions that retention has deleted" in verdict.of("A").notes


def test_retention_that_deletes_while_the_input_is_read(log: Log, monkeypatch: pytest.MonkeyPatch):
    log.transactions()
    log.answers(range(ROWS))
    log.commit(ROWS)
    read = TopicReader.read

    def late(reader: TopicReader, *args, **options):
        if reader.topic == log.topics.transactions:
            log.delete_before(reader.topic, 5)
        return read(reader, *args, **options)

    monkeypatch.setattr(TopicReader, "read", late)
    letters, verdict = found(log)
    assert (letters, verdict.counts["transactions"]) == ("", ROWS - 5)


def test_sources_that_the_input_does_not_have(log: Log):
    log.transactions()
    log.answers(range(ROWS))
    for changes in ({"source_partition": 99}, {"source_offset": 10**12}, {"source_offset": ROWS + 2}):
        log.answers([0], **changes)
        log.letter(0, **changes)
    log.commit(ROWS)
    letters, verdict = found(log)
    assert (letters, verdict.of("A").violations, verdict.of("A").offenders[0]) == (
        "A",
        6,
        f"{log.topics.predictions} partition 0 offset {ROWS + 1} answers partition 99 offset 0, "
        "which the input has not come to",
    )


@pytest.mark.parametrize("offset", [-1, 2**63, 10**30])
def test_sources_that_no_topic_can_have(log: Log, offset: int):
    log.transactions()
    log.answers(range(ROWS))
    log.answers([0], source_offset=offset)
    log.letter(0, source_offset=offset)
    log.commit(ROWS)
    letters, verdict = found(log)
    assert (letters, verdict.of("A").violations) == ("A", 2)


def test_what_comes_while_the_outputs_are_read_is_there(log: Log):
    """In a partition, too, that the input did not have when the verification began."""
    log.transactions()
    log.answers(range(ROWS))
    log.commit(ROWS)
    new = log.settings.kafka.partitions

    def meanwhile(said: str) -> None:
        if said.startswith(f"{log.topics.predictions}: "):
            grow(log.settings.kafka, log.topics.transactions, new + 1)
            again = Log(log.settings)
            again.send(again.topics.transactions, [{"trans_num": "a"}, {"trans_num": "b"}], new)
            again.letter(0, source_partition=new)

    verdict = verify(log.settings, Options(with_map=False), meanwhile)
    assert verdict.of("A").state == "held", verdict.of("A").offenders
    assert (verdict.counts["transactions"], verdict.counts["unscored"]) == (ROWS + 2, 1)


def test_two_different_answers_to_one_transaction(log: Log):
    log.transactions()
    log.answers(range(ROWS))
    log.send(log.topics.predictions, [answer(3, fraud_probability=0.9)], partition=1)
    log.commit(ROWS)
    letters, verdict = found(log)
    assert letters == "B"
    assert verdict.of("B").offenders == ["answered more than once: partition 0 offset 3"]


def test_a_transaction_that_is_nested_too_deeply_to_be_read(log: Log, tmp_path):
    deep = b'{"note":' + b"[" * 100_000 + b"]" * 100_000 + b',"trans_num":"t1"}'
    log.send(log.topics.transactions, [json.dumps({"trans_num": "t0"}).encode(), deep])
    log.answers([0])
    log.letter(1)
    log.commit(2)
    calm = tmp_path / "calm.npz"
    found(log, write_baseline=calm)
    assert len(Baseline.read(calm).keys) == 1
    letters, verdict = found(log, against=calm)
    assert (letters, verdict.counts["transactions"]) == ("", 2)


def test_numbers_are_kept_from_where_the_input_begins():
    named = Named(3_000_000_000)
    named.add(np.array([2_999_999_999, 3_000_000_001]), np.array([7, 8], np.uint64))
    there = np.arange(3_000_000_000, 3_000_000_009)
    assert named.others(there, np.full(9, 8, np.uint64)).tolist() == []
    assert named.others(there, np.full(9, 9, np.uint64)).tolist() == [3_000_000_001]
