"""Predictions as a scorer writes them, without a scorer."""

import json

from confluent_kafka import Producer

from infra.kafka import client_config
from infra.settings import Settings


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


def produce(
    settings: Settings,
    predictions: list[dict],
    commit: bool = True,
    separators: tuple[str, str] = (",", ":"),
    partition: int = 0,
) -> None:
    producer = Producer(client_config(settings.kafka) | {"transactional.id": f"test-{settings.scoring.group_id}"})
    producer.init_transactions(10)
    producer.begin_transaction()
    topic = settings.kafka.topics.predictions
    for row in predictions:
        value = json.dumps(row, separators=separators)
        producer.produce(topic, key=row["transaction_number"], value=value, partition=partition)
    producer.flush(10)
    if commit:
        producer.commit_transaction(10)
    else:
        producer.abort_transaction(10)
