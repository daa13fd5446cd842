"""Predictions in a real Kafka become rows that Hazelcast's SQL can be asked for."""

import json

import pytest
from confluent_kafka import Producer
from hazelcast.client import HazelcastClient

from infra.hazelcast import CARD_ACTIVITY, PREDICTIONS
from infra.kafka import client_config
from infra.projection import PREDICTION_COLUMNS, Projection
from infra.settings import Settings
from tests.waiting import until


def prediction(number: int, **changes: object) -> dict:
    return {
        "transaction_number": f"t{number}",
        "transaction_date": "2025-03-04 05:06:07",
        "is_fraud": number % 2,
        "amount": 10.5 * number,
        "merchant": "'); DROP MAPPING x;--",
        "category": None,
        "merchant_lat": 41.0,
        "merchant_lon": -87.0,
        "credit_card_number": "************0002",
        "card_token": f"token-{number % 3}",
        "card_last4": "0002",
        "customer_name": "Ada <script>",
        "customer_city": "Chicago",
        "customer_age_group": "26-35",
        "customer_gender": "F",
        "customer_lat": 41.9,
        "customer_lon": -87.6,
        "distance_from_home": 111.7,
        "transaction_weekday_code": 1,
        "transaction_hour_code": 5,
        "transaction_month_code": 6,
        "fraud_probability": number / 100,
        "fraud_model_prediction": 0,
        "source_partition": 0,
        "source_offset": number,
        "model_version": "m",
        "features_version": "f",
        "challenger_version": "c",
        "challenger_probability": number / 200,
        "inference_time_ns": 900,
        "transaction_processing_total_time": 9_000,
    } | changes


def produce(settings: Settings, predictions: list[dict], commit: bool = True) -> None:
    producer = Producer(client_config(settings.kafka) | {"transactional.id": f"test-{settings.scoring.group_id}"})
    producer.init_transactions(10)
    producer.begin_transaction()
    for row in predictions:
        producer.produce(
            settings.kafka.topics.predictions, key=row["transaction_number"], value=json.dumps(row), partition=0
        )
    producer.flush(10)
    if commit:
        producer.commit_transaction(10)
    else:
        producer.abort_transaction(10)


@pytest.fixture
def projection(settings: Settings, client: HazelcastClient) -> Projection:
    return Projection(client, settings)


def rows(client: HazelcastClient, query: str, *parameters: object) -> list[tuple]:
    result = client.sql.execute(query, *parameters).result()
    return [tuple(row.get_object_with_index(i) for i in range(row.metadata.column_count)) for row in result]


def test_committed_predictions_arrive_and_aborted_ones_do_not(settings, client, projection):
    assert projection.ensure() == ["predictions_to_map", "predictions_to_card_activity"]
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
    assert sorted(projection.drop()) == ["predictions_to_card_activity", "predictions_to_map"]
    assert projection.jobs() == []
    assert rows(client, "SHOW MAPPINGS") == []
    assert projection.drop() == []
