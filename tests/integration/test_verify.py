"""The verifier on topics that somebody got wrong: it finds each kind of mistake, and nothing in what is right."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from infra.hazelcast import PREDICTIONS
from infra.settings import Settings, get_settings
from infra.topic_reader import TopicReader
from tests.integration.written import ROWS, Log, answer, found
from tests.waiting import until
from verify.baseline import Baseline
from verify.marks import Marks
from verify.outputs import digests
from verify.watch import OffsetWatch


@pytest.fixture
def log(settings: Settings) -> Log:
    return Log(settings)


def test_what_is_right_holds(log: Log):
    log.transactions()
    log.answers(range(1, ROWS))
    log.letter(0)
    log.letter(0, source_topic="another")
    log.commit(ROWS)
    letters, verdict = found(log)
    assert letters == ""
    assert verdict.counts | {"transactions": ROWS, "predictions": ROWS - 1, "dead_letters": 1} == verdict.counts


def test_a_lost_transaction(log: Log):
    log.transactions()
    log.answers(o for o in range(ROWS) if o != 7)
    log.commit(ROWS)
    letters, verdict = found(log)
    assert letters == "A"
    assert verdict.of("A").offenders == ["lost: partition 0 offset 7"]


def test_lag_is_no_loss_unless_all_should_be_drained(log: Log):
    log.transactions()
    log.answers(range(10))
    log.commit(10)
    letters, verdict = found(log, drained=False)
    assert (letters, verdict.counts["unscored"], verdict.counts["lost"]) == ("", 10, 0)
    letters, verdict = found(log)
    assert (letters, verdict.counts["unscored"], verdict.counts["lost"]) == ("A", 10, 0)


def test_an_answer_to_an_aborted_transaction(log: Log):
    log.transactions()
    log.send(log.topics.transactions, [{"row": "aborted"}], commit=False)
    log.answers([*range(ROWS), ROWS + 1])  # the marker of the first transaction stands between
    log.commit(ROWS + 2)
    letters, verdict = found(log)
    assert letters == "A"
    assert verdict.of("A").offenders == [f"answered, but no committed transaction: partition 0 offset {ROWS + 1}"]


def test_a_doubled_answer(log: Log):
    log.transactions()
    log.answers(range(ROWS))
    log.letter(3)
    log.commit(ROWS)
    letters, verdict = found(log)
    assert letters == "B"
    assert (verdict.counts["duplicated"], verdict.of("B").offenders) == (
        1,
        ["answered more than once: partition 0 offset 3"],
    )


def test_answers_out_of_order(log: Log):
    log.transactions()
    log.answers([*range(5), 6, 5, *range(7, ROWS)])
    log.commit(ROWS)
    letters, verdict = found(log)
    assert letters == "C"
    assert verdict.of("C").offenders == ["Predictions partition 0: source 0@5 stands behind 0@6"]


def test_another_probability_than_the_baseline(log: Log, tmp_path):
    log.transactions()
    log.answers(range(ROWS))
    log.commit(ROWS)
    calm = tmp_path / "calm.npz"
    found(log, write_baseline=calm)
    assert found(log, against=calm)[0] == ""
    log.transactions(1, first=3)
    log.answers([ROWS + 1], transaction_number="t3", fraud_probability=3 / 7 + 1e-16)
    log.commit(ROWS + 2)
    letters, verdict = found(log, against=calm)
    assert letters == "D"
    assert "transaction t3 (partition 0 offset 21)" in verdict.of("D").offenders[0]


def test_a_dead_letter_where_the_baseline_has_a_prediction(log: Log, tmp_path):
    log.send(log.topics.transactions, [{"trans_num": f"t{row}"} for row in range(ROWS)])
    log.answers(range(ROWS))
    log.commit(ROWS)
    calm = tmp_path / "calm.npz"
    found(log, write_baseline=calm)
    log.send(log.topics.transactions, [{"trans_num": "another"}, {"trans_num": "t99"}])
    log.answers([ROWS + 1], transaction_number="another")
    log.letter(ROWS + 2)
    log.commit(ROWS + 3)
    assert found(log, against=calm)[0] == "", "the baseline knows neither"
    log.send(log.topics.transactions, [{"trans_num": "t0"}])
    log.letter(ROWS + 4)
    log.commit(ROWS + 5)
    assert found(log, against=calm)[0] == "", "it has a prediction too"


def test_dead_letters_are_not_the_baselines_answers(log: Log, tmp_path):
    numbers, calm = [{"trans_num": f"t{row}"} for row in range(ROWS)], tmp_path / "calm.npz"
    Baseline.of(digests([f"t{row}".encode() for row in range(ROWS)]), np.zeros(ROWS), ["m/f"]).write(calm)
    log.send(log.topics.transactions, numbers)
    log.answers(range(ROWS - 2), fraud_probability=0.0)
    for row in (ROWS - 2, ROWS - 1):
        log.letter(row)
    log.commit(ROWS)
    letters, verdict = found(log, against=calm)
    assert (letters, verdict.of("D").violations) == ("D", 2)
    assert verdict.of("D").offenders[0].endswith(f"partition 0 offset {ROWS - 2}")


def test_offsets_ahead_of_the_answers_and_behind_them(log: Log):
    log.transactions()
    log.answers(range(10))
    log.commit(12)
    assert found(log, drained=False)[0] == "AE"
    log.commit(9)
    letters, verdict = found(log, drained=False)
    assert letters == "E"
    assert verdict.of("E").offenders == ["partition 0: answered up to 10, committed 9"]


def test_the_watch_sees_an_offset_that_is_ahead_for_a_moment(log: Log):
    log.transactions()
    log.answers(range(5))
    log.commit(5)
    watch = OffsetWatch(log.settings)
    try:
        log.answers(range(5, 10))
        log.commit(10)
        watch.look()
        assert watch.check.violations == 0
        log.commit(12)
        watch.look()
        log.answers(range(10, 12))
        watch.look()
        assert watch.check.offenders == ["partition 0: committed 12, answered up to 10"]
    finally:
        watch.close()


def test_the_watch_comes_to_an_end_while_answers_come_all_the_time(log: Log, monkeypatch: pytest.MonkeyPatch):
    log.transactions()
    watch, calls = OffsetWatch(log.settings), itertools.count()

    def always_more(_: TopicReader) -> list[SimpleNamespace]:
        assert next(calls) < 10, "it waits for a moment in which nothing comes"
        return [SimpleNamespace(value=lambda: json.dumps(answer(next(calls))).encode())]

    monkeypatch.setattr(TopicReader, "arrived", always_more)
    try:
        watch.look()
    finally:
        watch.close()
    assert watch.answered


def test_an_answer_without_a_source(log: Log):
    log.transactions()
    log.answers(range(ROWS))
    log.send(log.topics.predictions, [{"transaction_number": "4000000000000002"}])
    log.commit(ROWS)
    letters, verdict = found(log)
    assert letters == "A"
    assert "4000000000000002" not in json.dumps(verdict.to_json())


def projected(log: Log, client):
    """All is answered, and in the map that this returns."""
    log.transactions()
    log.answers(range(ROWS))
    log.commit(ROWS)
    held = client.get_map(PREDICTIONS).blocking()
    for offset in range(ROWS):
        held.put(f"t{offset}", json.dumps(answer(offset)))
    return held


def test_the_map(log: Log, client):
    held = projected(log, client)
    options = {"with_map": True, "map_seconds": 0}
    assert found(log, **options)[0] == ""
    held.put("t4", json.dumps(answer(4, fraud_probability=0.5)))
    letters, verdict = found(log, **options)
    assert (letters, verdict.of("F").offenders) == ("F", ["transaction t4 has another value than the topic"])
    held.delete("t4")
    letters, verdict = found(log, **options)
    assert (letters, verdict.of("F").violations) == ("F", 1)


def test_a_transaction_that_is_sent_again_meanwhile_has_a_newer_value_in_the_map(log: Log, client):
    held = projected(log, client)
    # The end of the transactions is a marker, so what is sent next stands one further.
    held.put("t4", json.dumps(answer(ROWS + 1, transaction_number="t4")))
    options = {"drained": False, "with_map": True, "map_seconds": 0}
    assert found(log, **options)[0] == "F", "no such transaction has come"
    log.send(log.topics.transactions, [{"trans_num": "t4"}])
    assert found(log, **options)[0] == ""


def test_an_empty_map_is_not_one_that_is_full(log: Log, client):
    log.transactions()
    log.answers(range(ROWS))
    log.commit(ROWS)
    held = client.get_map(PREDICTIONS).blocking()
    log.settings.projection.max_entries = ROWS // 2
    options = {"with_map": True, "map_seconds": 0}
    letters, verdict = found(log, **options)
    assert (letters, verdict.of("F").violations) == ("F", ROWS // 4)
    for offset in range(ROWS // 2):
        held.put(f"t{offset}", json.dumps(answer(offset)))
    letters, verdict = found(log, **options)
    assert letters == ""
    assert any("beyond the map's bound" in note for note in verdict.of("F").notes)


def test_a_loss_is_seen_where_all_dead_letters_are_gone(log: Log):
    log.transactions()
    log.letter(0)
    log.answers(range(1, ROWS - 1))
    log.commit(ROWS)
    log.delete_before(log.topics.dead_letters, 2)
    letters, verdict = found(log)
    assert "A" in letters
    assert f"lost: partition 0 offset {ROWS - 1}" in verdict.of("A").offenders


def test_what_retention_deleted_is_not_judged(log: Log):
    log.transactions()
    log.answers(range(ROWS))
    log.commit(ROWS)
    log.transactions(first=ROWS + 1)  # 21 to 40
    log.answers(range(ROWS + 1, 2 * ROWS + 1))
    log.commit(2 * ROWS + 1)
    log.delete_before(log.topics.transactions, 5)
    log.delete_before(log.topics.predictions, ROWS + 5)
    letters, verdict = found(log)
    assert letters == ""
    assert any("older than what retention left" in note for note in verdict.of("A").notes)


def test_the_command(log: Log):
    log.transactions()
    log.answers(range(ROWS - 1))
    log.commit(ROWS - 1)
    run = CliRunner()
    until(lambda: run.invoke(app, ["verify", "--no-map"]).exit_code == 0, 20, "exit code 0")
    failed = run.invoke(app, ["verify", "--no-map", "--drained", "--json"])
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["checks"]["A"]["state"] == "violated"
    get_settings.cache_clear()
    missing = run.invoke(app, ["verify", "--no-map"], env={"FRAUDFLOW_KAFKA__TOPICS__PREDICTIONS": "NoSuchTopic"})
    assert missing.exit_code == 2
    assert "NoSuchTopic" in missing.stderr


def test_marks_count_offsets_wherever_they_begin():
    marks = Marks()
    marks.add([3_000_000_005, 3_000_000_005, 3_000_000_001])
    marks.add([2_999_999_990])
    assert (marks.distinct, marks.stop) == (3, 3_000_000_006)
    assert marks.window(3_000_000_000, 3_000_000_006).tolist() == [0, 1, 0, 0, 0, 2]
    count, offsets = marks.repeated()
    assert (count, offsets.tolist()) == (1, [3_000_000_005])
