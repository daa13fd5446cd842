"""Predictions of simulated transactions, as the scorer would write them, without a scorer.

`python -m tests.browser.feed --count 100000` sends them to the `Predictions` topic of the settings' Kafka, those
at or above the alert threshold to `FraudAlerts` too; `--rate 200` goes on sending, with the present time.
"""

import argparse
import hashlib
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
import polars as pl
from confluent_kafka import Producer

from dashboard import labels, links
from dashboard.labels import ASKED, Label
from infra.kafka import client_config
from infra.settings import Settings, get_settings
from simulator.population import Population, simulate_population
from simulator.transactions import Simulation

MODEL_VERSION = "baseline-3f9a1c20"
FEATURES_VERSION = "f-20251101"
_EARTH_RADIUS_KM = 6371.0087714
# Simulated verdicts of a good model: most fraud scores high, a little honest business does too.
_FRAUD_BETA, _HONEST_BETA = (4.0, 1.2), (0.1, 30.0)
_ODD_SHARE, _ODD_BETA = 0.004, (1.6, 2.2)


def population(customers: int = 4_000, merchants: int = 400, seed: int = 1) -> Population:
    """The people and shops of the feed."""
    return simulate_population(customers, merchants, seed)


def predictions(
    people: Population, count: int, *, seed: int = 1, start: datetime | None = None, days: int = 30
) -> Iterator[pl.DataFrame]:
    """Frames with the columns of a prediction, in time order; they end `now` unless `start` says otherwise."""
    start = start or datetime.now(UTC).replace(tzinfo=None) - timedelta(days=days)
    cards = people.customers.select(
        cc_num="cc_num",
        credit_card_number=pl.col("cc_num").cast(pl.String).str.replace(r"^\d{12}", "*" * 12),
        card_token=pl.col("cc_num")
        .cast(pl.String)
        .map_elements(lambda card: hashlib.sha256(b"feed" + card.encode()).hexdigest()[:32], return_dtype=pl.String),
        card_last4=pl.col("cc_num").cast(pl.String).str.tail(4),
        customer_name=pl.col("first") + " " + pl.col("last"),
        customer_city="city",
        customer_age_group="age_group",
        customer_gender="gender",
        customer_lat="latitude",
        customer_lon="longitude",
    )
    shops = people.merchants.select(merchant="merchant_name", category="category")
    rng = np.random.default_rng([seed, 77])
    offset = 0
    for transactions in Simulation(people, count, seed, start=start, days=days).frames():
        frame = transactions.join(cards, on="cc_num", how="left", maintain_order="left").join(
            shops, on="merchant", how="left", maintain_order="left"
        )
        fraud = frame["is_fraud"].to_numpy() == 1
        score = np.where(fraud, rng.beta(*_FRAUD_BETA, frame.height), rng.beta(*_HONEST_BETA, frame.height))
        odd = ~fraud & (rng.random(frame.height) < _ODD_SHARE)
        score = np.where(odd, rng.beta(*_ODD_BETA, frame.height), score)
        when = pl.col("transaction_date").str.to_datetime()
        yield frame.select(
            transaction_number="trans_num",
            transaction_date="transaction_date",
            is_fraud="is_fraud",
            amount="amt",
            merchant="merchant",
            category="category",
            merchant_lat="merch_lat",
            merchant_lon="merch_long",
            **{name: pl.col(name) for name in cards.columns if name != "cc_num"},
            distance_from_home=pl.Series(_distance_km(frame).round(6)),
            transaction_weekday_code=when.dt.weekday().cast(pl.Int32) - 1,
            transaction_hour_code=when.dt.hour(),
            transaction_month_code=when.dt.month(),
            fraud_probability=pl.Series(score.round(7)),
            fraud_model_prediction=pl.Series((score >= 0.5).astype(np.int64)),
            source_partition=pl.Series(np.arange(offset, offset + frame.height) % 4),
            source_offset=pl.Series(np.arange(offset, offset + frame.height) // 4),
            model_version=pl.lit(MODEL_VERSION),
            features_version=pl.lit(FEATURES_VERSION),
            inference_time_ns=pl.Series(rng.integers(900, 2_400, frame.height)),
            transaction_processing_total_time=pl.Series(rng.integers(2_000_000, 14_000_000, frame.height)),
        )
        offset += frame.height


def send(settings: Settings, frame: pl.DataFrame, producer: Producer | None = None) -> None:
    """Send a frame's predictions, and its alerts."""
    producer = producer or Producer(client_config(settings.kafka))
    topics, threshold = settings.kafka.topics, settings.scoring.threshold()
    values = frame.write_ndjson().encode().split(b"\n")
    for key, score, value in zip(frame["transaction_number"], frame["fraud_probability"], values, strict=False):
        _produce(producer, topics.predictions, key, value)
        if score >= threshold:
            _produce(producer, topics.alerts, key, value)
    producer.flush()


def send_rows(settings: Settings, rows: Sequence[dict[str, object]]) -> None:
    """Send hand-made predictions."""
    producer = Producer(client_config(settings.kafka))
    for row in rows:
        _produce(producer, settings.kafka.topics.predictions, str(row["transaction_number"]), orjson.dumps(row))
    producer.flush()


def ask_customer(settings: Settings, number: str) -> str:
    """Send the label of a customer who is asked about a transaction; the path of the page where they answer."""
    link = links.issue(number, timedelta(hours=1))
    asked = Label(
        number, ASKED, "analyst", "grace", link=link.nonce, link_ends=int(link.ends.timestamp()), amount=9_000.0
    )
    producer = Producer(client_config(settings.kafka))
    _produce(producer, settings.kafka.topics.labels, number, labels.encode(asked))
    producer.flush()
    return f"/answer?t={links.sign(link, settings.dashboard.link_key.get_secret_value().encode())}"


def _produce(producer: Producer, topic: str, key: str, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
            return
        except BufferError:
            producer.poll(0.1)


def _distance_km(frame: pl.DataFrame) -> np.ndarray:
    lat1, lon1, lat2, lon2 = (
        np.radians(frame[name].to_numpy()) for name in ("customer_lat", "customer_lon", "merch_lat", "merch_long")
    )
    half = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return 2 * _EARTH_RADIUS_KM * np.arcsin(np.sqrt(half))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=0, help="then go on with so many a second")
    parser.add_argument("--seconds", type=float, default=3600, help="for how long")
    arguments = parser.parse_args()
    settings, people = get_settings(), population()
    producer = Producer(client_config(settings.kafka) | {"linger.ms": 20, "compression.type": "lz4"})
    for frame in predictions(people, arguments.count):
        send(settings, frame, producer)
    end, seed = time.monotonic() + arguments.seconds, 100
    while arguments.rate and time.monotonic() < end:
        seed += 1
        for frame in predictions(people, max(1, round(arguments.rate)), seed=seed, days=1):
            now = datetime.now(UTC).replace(tzinfo=None).strftime("%Y-%m-%d %H:%M:%S")
            send(settings, frame.with_columns(transaction_date=pl.lit(now)), producer)
        time.sleep(1)


if __name__ == "__main__":
    main()
