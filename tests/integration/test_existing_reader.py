"""A program that knows `predictionResult` by the names of its fields, and nothing else of us, goes on working."""

from collections import defaultdict

import hazelcast
import pytest

from infra.feature_store import FeatureStore
from infra.projection import Projection
from infra.seeding import seed
from scoring.feature_files import read_feature_files
from tests.integration.scored import drain, simulated
from tests.kafka_log import values
from tests.waiting import until

SENT = 400
# What such programs were written against.
MAPPING = """
CREATE OR REPLACE EXTERNAL MAPPING "known_by_name" EXTERNAL NAME "predictionResult" (
    __key VARCHAR, transaction_number VARCHAR, transaction_date VARCHAR, is_fraud INTEGER, amount DOUBLE,
    merchant VARCHAR, merchant_lat DOUBLE, merchant_lon DOUBLE, credit_card_number VARCHAR, customer_name VARCHAR,
    customer_city VARCHAR, customer_age_group VARCHAR, customer_gender VARCHAR, customer_lat DOUBLE,
    customer_lon DOUBLE, distance_from_home DOUBLE, transaction_weekday_code INTEGER,
    transaction_hour_code INTEGER, transaction_month_code INTEGER, fraud_probability DOUBLE,
    fraud_model_prediction INTEGER, inference_time_ns BIGINT, transaction_processing_total_time BIGINT
) TYPE IMap OPTIONS ('keyFormat'='varchar', 'valueFormat'='json-flat')
"""


@pytest.fixture
def reader(settings):
    """A client with the cluster's name and address alone."""
    connected = hazelcast.HazelcastClient(cluster_name="dev", cluster_members=settings.hazelcast.members)
    connected.sql.execute(MAPPING).result().close().result()
    yield connected
    connected.sql.execute('DROP MAPPING IF EXISTS "known_by_name"').result().close().result()
    connected.shutdown()


def test_sql_over_the_known_names_gives_what_the_scorer_wrote(settings, client, spawn, population, reader):
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    seed(settings.kafka, simulated(made, SENT), "reader")
    spawn("0")
    drain(settings)
    written = {p["transaction_number"]: p for p in values(settings.kafka, settings.kafka.topics.predictions)}
    assert len(written) == SENT
    projection = Projection(client, settings)
    projection.ensure()
    until(lambda: projection.size() == SENT, what="the predictions in the map")

    rows = list(reader.sql.execute('SELECT * FROM "known_by_name"').result())
    names = [column.name for column in rows[0].metadata.columns if column.name != "__key"]
    assert len(names) == 22
    for row in rows:
        assert {name: row.get_object(name) for name in names} == {
            name: written[row.get_object("__key")][name] for name in names
        }

    by_city = defaultdict(float)
    for prediction in written.values():
        by_city[prediction["customer_city"]] += prediction["amount"]
    grouped = reader.sql.execute('SELECT customer_city, SUM(amount) FROM "known_by_name" GROUP BY customer_city')
    sums = {row.get_object_with_index(0): row.get_object_with_index(1) for row in grouped.result()}
    assert sums == pytest.approx(by_city)
