"""What passes by in a real Kafka is counted as a whole, and no further back than the settings say."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import polars as pl
import pytest
from confluent_kafka import Producer

from dashboard import queries
from dashboard.answers import Answers
from dashboard.cluster import Cluster
from dashboard.metrics import Collector
from dashboard.queries import LOWEST, Filters
from dashboard.services import Services
from dashboard.state import Watched
from dashboard.stream import Sample
from dashboard.whole import Whole
from infra.hazelcast import SUSPECTS
from infra.kafka import client_config, partitions
from infra.projection import Projection
from infra.settings import Settings
from tests.integration.predicted import prediction, produce
from tests.kafka_log import grow
from tests.waiting import until

pytestmark = pytest.mark.server


def up() -> Watched:
    kafka = Watched("Kafka")
    kafka.up()
    return kafka


def counted(whole: Whole, filters: Filters, *keys: str) -> pl.DataFrame:
    frame = whole.count(filters, *keys).frame
    return pl.DataFrame({"transactions": [0]}) if frame is None else frame


def number(whole: Whole, filters: Filters | None = None) -> int:
    return int(counted(whole, filters or Filters())["transactions"].sum())


def test_what_passes_by_is_counted_by_what_people_filter(settings):
    produce(settings, [prediction(i, customer_gender="FM"[i % 2], category="travel") for i in range(40)])
    produce(settings, [prediction(99)], commit=False)
    whole = Whole(settings, up())
    until(lambda: number(whole) == 40, what="40 predictions")
    assert whole.since() == ()
    women = counted(whole, Filters(customer_gender=("F",), category=("travel",)), "amount_band", "day")
    assert women["transactions"].sum() == 20
    assert women["total"].sum() == pytest.approx(10.5 * sum(range(0, 40, 2)))
    assert women.schema == {
        "amount_band": pl.Int64, "day": pl.String, "transactions": pl.Int64, "total": pl.Float64
    }  # fmt: skip
    assert set(women["day"]) == {"2025-03-04"}
    assert number(whole, Filters(merchant=("nobody",))) == 0
    assert number(whole, Filters(customer=("Ada <script> •••• 0002",))) == 40
    below = whole.unsuspected().frame
    assert below is not None
    assert below["transactions"].sum() == LOWEST * 100
    beside = whole.beside().frame
    assert beside is not None
    assert set(beside["model_version"]) == {"c"}
    assert beside["transactions"].sum() == 40
    assert whole.of_card("token-1", 2) == ["t34", "t37"]
    produce(settings, [prediction(41)])
    until(lambda: number(whole) == 41, what="the newest one too")


def test_each_score_is_in_the_band_that_its_number_names(settings, client):
    Projection(client, settings).ensure()
    produce(settings, [prediction(i, fraud_probability=i / 100) for i in range(101)])
    below = round(LOWEST * 100)
    until(lambda: client.get_map(SUSPECTS).size().result() == 101 - below, what="the suspects")
    answers = Answers(Cluster(settings.hazelcast, query_seconds=20), renewing_share=0.5)
    (answer,) = answers.ask(queries.suspected(Filters()), fresh_seconds=0, wait_seconds=30)
    assert answer.frame is not None
    assert sorted(answer.frame["band"]) == list(range(below, 101))
    whole = Whole(settings, up())
    until(lambda: number(whole) == 101, what="the predictions")
    assert sorted(counted(whole, Filters(), "band")["band"]) == list(range(101))


def test_what_is_sent_again_counts_once_with_its_newest_answer(settings):
    produce(settings, [prediction(i, category="travel") for i in range(40)])
    whole = Whole(settings, up())
    until(lambda: number(whole) == 40, what="40 predictions")
    produce(settings, [prediction(i % 50, category="food") for i in range(10, 70)])
    until(lambda: number(whole) == 50 and whole.passed == 60, what="each once")
    until(lambda: number(whole, Filters(category=("travel",))) == 0, what="the newest answers")


def test_counts_that_are_kept_follow_what_comes_and_what_is_sent_again(settings):
    settings.projection.max_entries = 8_000  # pieces of 500
    produce(settings, [prediction(i, customer_gender="F") for i in range(1_000)])
    whole = Whole(settings, up())
    until(lambda: number(whole) == 1_000, what="1,000 predictions")

    def of_each() -> dict[str, int]:
        return dict(counted(whole, Filters(), "customer_gender").select("customer_gender", "transactions").iter_rows())

    assert of_each() == {"F": 1_000}
    produce(settings, [prediction(i, customer_gender="M") for i in range(950, 1_300)])
    until(lambda: of_each() == {"F": 950, "M": 350}, what="those that came, and the newest answers")


def test_one_that_cannot_be_read_takes_nothing_from_the_others(settings):
    producer = Producer(client_config(settings.kafka))
    for value in (b"not JSON", b"[1]", b'{"amount":"much"}', None):
        producer.produce(settings.kafka.topics.predictions, value, b"odd", 0)
    producer.flush()
    produce(settings, [prediction(i) for i in range(10)])
    whole = Whole(settings, up())
    until(lambda: number(whole) == 10, what="the ten that can be read")


def test_nobody_waits_for_a_topic_that_is_not_there(settings):
    settings.kafka.topics.predictions = "not-provisioned"
    whole = Whole(settings, up())
    until(lambda: whole.reading is None, what="the end of the reading")
    assert whole.count(Filters()).frame is None


@pytest.mark.parametrize("at_once", [500, 3_000])
def test_only_the_newest_are_counted_and_it_is_told_where_they_begin(settings: Settings, at_once: int):
    settings.projection.max_entries = 1_000
    whole = Whole(settings, up())
    until(lambda: whole.count(Filters()).frame is not None, what="a look at the empty topic")
    for start in range(0, 3_000, at_once):
        produce(settings, [prediction(i) for i in range(start, start + at_once)])
    until(lambda: whole.of_card("token-2", 1) == ["t2999"], what="the newest")
    until(lambda: number(whole) > 0, what="a count of now: answers rest")
    assert 1_000 <= number(whole) < 1_100
    ((partition, first),) = whole.since()
    assert (partition, 3_000 - first) == (0, number(whole))


def test_a_partition_that_is_added_is_counted(settings, monkeypatch):
    monkeypatch.setattr("dashboard.following._GROWTH_SECONDS", 0.1)
    produce(settings, [prediction(i) for i in range(10)])
    whole = Whole(settings, up())
    until(lambda: number(whole) == 10, what="10 predictions")
    topic = settings.kafka.topics.predictions
    there = partitions(settings.kafka)[topic]
    grow(settings.kafka, topic, there + 1)
    produce(settings, [prediction(i) for i in range(10, 15)], partition=there)
    until(lambda: number(whole) == 15, what="those in the new partition")


def test_suspects_from_before_the_counting_begins_are_left_out(settings, client):
    Projection(client, settings).ensure()
    produce(settings, [prediction(i, source_partition=i % 2) for i in range(100)])
    until(lambda: client.get_map(SUSPECTS).size().result() == 100 - LOWEST * 100, what="the suspects")

    def suspected(since: queries.Since) -> int:
        filters = Filters(customer_city=("Chicago",), customer=("Ada <script> •••• 0002",))
        question = queries.suspected(filters, "day", "customer", since=since)
        result = client.sql.execute(question.statement, *question.parameters, *question.moving).result()
        return sum(row.get_object("transactions") for row in result)

    assert suspected(()) == 98
    assert suspected(((0, 50),)) == 49 + 25
    assert suspected(((0, 50), (1, 91))) == 25 + 5


def test_counts_are_as_of_now_while_kafka_is_there_and_stale_while_it_is_away(settings):
    produce(settings, [prediction(i) for i in range(10)])
    kafka = up()
    whole = Whole(settings, kafka)
    until(lambda: number(whole) == 10, what="10 predictions")
    before = datetime.now(UTC)

    def looked() -> bool:
        as_of = whole.count(Filters()).as_of
        return as_of is not None and as_of > before

    until(looked, what="a look at which nothing had come since it was counted")
    stream = SimpleNamespace(watched=kafka, samples=[Sample(before, 10, 10, 1.0, 0, 1.0, 2.0, before)])
    cluster, threshold = SimpleNamespace(watched=Watched("Hazelcast")), SimpleNamespace(alert=0.5)
    metrics = Collector(
        cast(Services, SimpleNamespace(stream=stream, cluster=cluster, threshold=threshold, whole=whole))
    )
    assert {metric.name for metric in metrics.collect()} >= {
        "fraudflow_scoring_lag_transactions", "fraudflow_projected_transactions"
    }  # fmt: skip
    kafka.away("no answer")
    assert [metric.name for metric in metrics.collect()] == ["fraudflow_system_up"], "numbers of then served as now's"
    stale = whole.count(Filters())
    assert stale.error == "Kafka is away"
    assert stale.frame is not None
    assert stale.as_of is not None
    assert stale.as_of < before, "when it was counted"
    kafka.up()
    assert whole.count(Filters()).error is None
