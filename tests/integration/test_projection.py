"""Predictions in a real Kafka become rows that Hazelcast's SQL can be asked for."""

import json
import time

import pytest
from hazelcast.client import HazelcastClient
from hazelcast.sql import HazelcastSqlError

from infra.errors import TransientError
from infra.hazelcast import CARD_ACTIVITY, PREDICTION_VIEW, PREDICTIONS, SUSPECTS
from infra.kafka import last_records
from infra.projection import Projection
from infra.projection_sql import (
    LOWEST_SUSPICION,
    PREDICTION_COLUMNS,
    SUSPECT_COLUMNS,
    SUSPECT_RECORDS,
    TOPIC_MAPPING,
    VIEW_COLUMNS,
)
from infra.settings import Settings, get_settings
from tasks.project import wait_for_projection
from tests.integration.predicted import prediction, produce
from tests.waiting import until


@pytest.fixture
def projection(settings: Settings, client: HazelcastClient) -> Projection:
    return Projection(client, settings)


def rows(client: HazelcastClient, query: str, *parameters: object) -> list[tuple]:
    result = client.sql.execute(query, *parameters).result()
    return [tuple(row.get_object_with_index(i) for i in range(row.metadata.column_count)) for row in result]


def test_committed_predictions_arrive_and_aborted_ones_do_not(settings, client, projection):
    assert projection.ensure() == ["predictions_to_map", "predictions_to_card_activity", "predictions_to_suspects"]
    produce(settings, [prediction(99)], commit=False)
    produce(settings, [prediction(i) for i in range(60)])
    until(lambda: projection.size() == 60, what="60 predictions in the map")
    assert client.get_map(PREDICTIONS).get("t99").result() is None
    stored = client.get_map(PREDICTIONS).get("t7").result()
    assert json.loads(stored.to_string()) == prediction(7)


def test_every_column_has_its_value(settings, client, projection):
    projection.ensure()
    produce(settings, [prediction(7)])
    until(lambda: projection.size() == 1, what="the prediction in the map")
    names = ", ".join(f'"{name}"' for name in PREDICTION_COLUMNS)
    (row,) = rows(client, f'SELECT {names} FROM "{PREDICTIONS}"')
    assert dict(zip(PREDICTION_COLUMNS, row, strict=True)) == prediction(7)


@pytest.mark.parametrize("merchant", ["Reichert, Wisoky", 'Ada "O\'Hara" \\ Söhne'], ids=["plain", "with escapes"])
@pytest.mark.parametrize(("mapping", "names"), [(PREDICTION_VIEW, VIEW_COLUMNS), (SUSPECTS, SUSPECT_COLUMNS)])
def test_what_people_ask_has_its_columns_and_no_card_number(settings, client, projection, mapping, names, merchant):
    projection.ensure()
    sent = prediction(7, credit_card_number="4000000000000002", merchant=merchant)
    produce(settings, [sent])
    until(lambda: rows(client, f'SELECT __key FROM "{mapping}"'), what=f"the prediction in {mapping}")
    (row,) = rows(client, f'SELECT {", ".join(names)} FROM "{mapping}" WHERE transaction_number = ?', "t7")
    assert dict(zip(names, row, strict=True)) == {name: sent[name] for name in names}
    with pytest.raises(HazelcastSqlError, match="credit_card_number"):
        rows(client, f'SELECT credit_card_number FROM "{mapping}"')


def test_a_suspect_keeps_its_whole_prediction(settings, client, projection):
    projection.ensure()
    sent = prediction(7, reasons=[{"text": "far from home"}])
    produce(settings, [sent])
    query = f'SELECT record FROM "{SUSPECT_RECORDS}" WHERE __key = ?'
    until(lambda: rows(client, query, "t7"), what="the suspect")
    ((record,),) = rows(client, query, "t7")
    assert json.loads(record) == sent


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["as the scorer writes", "with spaces"])
def test_suspects_are_those_with_a_high_enough_score(settings, client, projection, separators):
    scores = [0.0, 1e-9, 0.0199999, LOWEST_SUSPICION, 0.020001, 0.1, 0.5, 1.0, 1, None]
    projection.ensure()
    misleading = '"fraud_probability":0.01,"card_token":"stolen"'
    produce(
        settings,
        [prediction(i, fraud_probability=score, merchant=misleading) for i, score in enumerate(scores)],
        separators=separators,
    )
    suspects = client.get_map(SUSPECTS)
    expected = {f"t{i}" for i, score in enumerate(scores) if score is not None and score >= LOWEST_SUSPICION}
    until(lambda: set(suspects.key_set().result()) >= expected, what="the suspects")
    until(lambda: projection.size() == len(scores), what="all predictions in the map")
    assert set(suspects.key_set().result()) == expected
    assert set(client.get_map(CARD_ACTIVITY).key_set().result()) <= {"token-0", "token-1", "token-2"}


def test_a_mapping_of_an_existing_reader_works(settings, client, projection):
    projection.ensure()
    produce(settings, [prediction(i) for i in range(10)])
    until(lambda: projection.size() == 10, what="10 predictions in the map")
    client.sql.execute(
        f'CREATE OR REPLACE EXTERNAL MAPPING "reader" EXTERNAL NAME "{PREDICTIONS}" (__key VARCHAR, '
        "transaction_number VARCHAR, amount DOUBLE, fraud_probability DOUBLE, customer_city VARCHAR) "
        "TYPE IMap OPTIONS ('keyFormat'='varchar', 'valueFormat'='json-flat')"
    ).result().close()
    try:
        query = "SELECT customer_city, COUNT(*), SUM(amount) FROM reader WHERE fraud_probability > ? GROUP BY 1"
        assert rows(client, query, 0.05) == [("Chicago", 4, pytest.approx(10.5 * (6 + 7 + 8 + 9)))]
    finally:
        client.sql.execute('DROP MAPPING IF EXISTS "reader"').result().close()


def test_card_activity_has_the_newest_of_each_card(settings, client, projection):
    projection.ensure()
    produce(settings, [prediction(i) for i in range(60)])
    activity = client.get_map(CARD_ACTIVITY)

    def newest() -> dict[str, dict]:
        return {key: json.loads(value.to_string()) for key, value in activity.entry_set().result()}

    expected = {f"token-{i % 3}": prediction(i) for i in (57, 58, 59)}
    until(lambda: newest() == expected, what="the newest prediction of each card")


def test_jobs_that_the_cluster_lost_are_made_again(settings, client, projection):
    projection.ensure()
    produce(settings, [prediction(1)])
    until(lambda: projection.size() == 1, what="the prediction in the map")
    client.sql.execute('DROP JOB "predictions_to_map"').result().close()
    client.get_map(PREDICTIONS).clear().result()
    assert projection.ensure() == ["predictions_to_map"]
    assert projection.ensure() == []
    until(lambda: projection.size() == 1, what="the prediction in the map again")


def test_a_login_does_not_stay_where_anybody_can_read_it(settings, client, projection, monkeypatch):
    execute = projection._execute

    def fails_after_the_topics_mapping(statement: str) -> None:
        if statement.startswith("CREATE JOB"):
            raise TransientError("a member is gone")
        execute(statement)

    monkeypatch.setattr(projection, "_execute", fails_after_the_topics_mapping)
    with pytest.raises(TransientError):
        projection.ensure()
    assert TOPIC_MAPPING not in [name for (name,) in rows(client, "SHOW MAPPINGS")]


def test_a_rebuilt_projection_equals_the_one_before(settings, client, projection):
    projection.ensure()
    produce(settings, [prediction(i) for i in range(20)])
    until(lambda: projection.size() == 20, what="20 predictions in the map")

    def content() -> dict[str, str]:
        return {key: value.to_string() for key, value in client.get_map(PREDICTIONS).entry_set().result()}

    before = content()
    client.get_map(PREDICTIONS).set("stranger", "x").result()
    projection.rebuild()
    until(lambda: content() == before, what="the same content")


def test_what_was_dropped_is_gone(settings, client, projection):
    projection.ensure()
    assert sorted(projection.drop()) == [
        "predictions_to_card_activity",
        "predictions_to_map",
        "predictions_to_suspects",
    ]
    assert projection.jobs() == []
    assert rows(client, "SHOW MAPPINGS") == []
    assert projection.drop() == []


@pytest.mark.parametrize(("setting", "value"), [("TTL_SECONDS", 1), ("MAX_ENTRIES", 1_000)])
def test_what_the_map_has_dropped_again_is_not_waited_for(settings, client, projection, monkeypatch, setting, value):
    produce(settings, [prediction(1)])
    projection.ensure()
    until(lambda: projection.size() == 1, what="the prediction in the map")
    client.get_map(PREDICTIONS).clear().result()
    with pytest.raises(TransientError, match="did not reach predictionResult"):
        wait_for_projection.fn(0)
    monkeypatch.setenv(f"FRAUDFLOW_PROJECTION__{setting}", str(value))
    get_settings.cache_clear()
    if setting == "TTL_SECONDS":
        (record,) = last_records(settings.kafka, settings.kafka.topics.predictions)
        until(lambda: time.time() > record.timestamp()[1] / 1000 + 1, what="the record's end")
    else:
        elsewhere = [prediction(number) | {"transaction_number": str(number)} for number in range(1_100)]
        produce(settings, elsewhere, partition=1)
    assert wait_for_projection.fn(30) >= 0
