"""Analysts who work at the same time, and customers who are asked, on a real Kafka and Hazelcast."""

from urllib.parse import urlsplit

import polars as pl
import pytest

from dashboard.answers import Answers
from dashboard.cluster import Cluster
from dashboard.desk import ANSWERS, CLAIMS, CaseRefused, Desk
from dashboard.labels import FRAUD, GENUINE, Label
from dashboard.links import LinkRefused
from dashboard.queue import Queue
from dashboard.state import Watched
from dashboard.stream import Stream
from infra.errors import TransientError
from infra.hazelcast import PREDICTIONS, SUSPECTS
from infra.projection import Projection
from tests.integration.predicted import prediction, produce
from tests.waiting import until

pytestmark = pytest.mark.server

CASE = "t90"


@pytest.fixture
def stream(settings):
    followed = Stream(settings, Watched("Kafka"), lambda: 0)
    until(lambda: followed.labels_read, what="the labels")
    return followed


@pytest.fixture
def desk(settings, client, stream):
    Projection(client, settings).ensure()
    produce(settings, [prediction(90, amount=50.0)])
    until(lambda: client.get_map(SUSPECTS).size().result() == 1, what="the suspect")
    return Desk(settings, Cluster(settings.hazelcast, query_seconds=20), stream)


def token(desk: Desk, stream: Stream) -> str:
    asked = stream.label(CASE)
    assert asked is not None
    return urlsplit(desk.address(asked) or "").query.removeprefix("t=")


def seen(stream: Stream) -> str | None:
    label = stream.label(CASE)
    return label.at if label else None


def test_a_judged_case_is_nobodys_next_one_from_the_same_moment_on(desk, stream):
    queue = pl.DataFrame({"transaction_number": [CASE]})
    assert desk.take_next(queue, "ada") == CASE
    desk.judge(Label(CASE, FRAUD, "analyst", "ada"), None)
    assert desk.open_cases(queue).is_empty()
    assert desk.claims() == {}
    assert desk.take_next(queue, "linus") is None, "another dashboard, which has not heard of it"
    assert (stream.label(CASE).by, stream.label(CASE).amount) == ("ada", 50.0)


def test_a_verdict_can_be_corrected_when_the_case_is_free_again(client, desk, stream):
    desk.take(CASE, "ada")
    desk.judge(Label(CASE, FRAUD, "analyst", "ada"), None)
    client.get_map(CLAIMS).clear().result()  # as it is after some seconds
    assert desk.owner(CASE) is None
    assert desk.take(CASE, "grace") == "grace"
    assert desk.owner(CASE) == "grace", "or the page would offer to take it for ever"
    desk.judge(Label(CASE, GENUINE, "analyst", "grace"), seen(stream))
    assert (stream.label(CASE).verdict, stream.label(CASE).by) == (GENUINE, "grace")


def test_judged_cases_make_room_for_open_ones_and_are_not_asked_for_again_and_again(
    settings, client, desk, stream, monkeypatch
):
    monkeypatch.setattr("dashboard.queue.SHOWN", 2)
    produce(settings, [prediction(i) for i in range(91, 100)])
    until(lambda: client.get_map(SUSPECTS).size().result() == 10, what="the suspects")
    for number in range(92, 100):
        stream.keep(Label(f"t{number}", FRAUD))
    queue = Queue(Answers(Cluster(settings.hazelcast, query_seconds=20)), desk)
    until(lambda: queue.largest_open(0.5)[1].height == 2, what="those that are open")
    ask, asked = Answers.ask, []
    monkeypatch.setattr(Answers, "ask", lambda answers, *questions: asked.append(questions) or ask(answers, *questions))
    assert queue.largest_open(0.5)[1]["transaction_number"].to_list() == ["t91", CASE]
    assert len(asked) == 1


def test_a_verdict_that_is_said_counts_though_hazelcast_goes_away_then(desk, stream, monkeypatch):
    desk.take(CASE, "ada")
    on_map = Cluster.on_map

    def away_then(cluster: Cluster, name: str, call):
        if stream.label(CASE):
            raise TransientError("Hazelcast is away")
        return on_map(cluster, name, call)

    monkeypatch.setattr(Cluster, "on_map", away_then)
    desk.judge(Label(CASE, FRAUD, "analyst", "ada"), None)
    assert stream.label(CASE).verdict == FRAUD


def test_a_verdict_is_refused_where_somebody_else_was_faster(desk, stream):
    desk.take(CASE, "ada")
    desk.release(CASE, "ada")  # as when her time is over
    desk.take(CASE, "linus")
    with pytest.raises(CaseRefused, match="linus works on it"):
        desk.judge(Label(CASE, FRAUD, "analyst", "ada"), None)
    drawn = seen(stream)
    desk.judge(Label(CASE, GENUINE, "analyst", "linus"), drawn)
    with pytest.raises(CaseRefused, match="linus said genuine"):
        desk.judge(Label(CASE, FRAUD, "analyst", "ada"), drawn)
    assert stream.label(CASE).verdict == GENUINE


def test_a_customer_answers_once_and_needs_no_map_for_it(desk, stream, client):
    desk.ask_customer(CASE, "ada", None)
    link = token(desk, stream)
    for name in (PREDICTIONS, SUSPECTS):
        client.get_map(name).clear().result()  # newer ones have pushed it out
    asked = desk.read_link(link)
    assert (asked.amount, asked.merchant, asked.card_last4) == (50.0, "'); DROP MAPPING x;--", "0002")
    desk.answer(link, was_me=False)
    client.get_map(ANSWERS).clear().result()  # Hazelcast was started again
    for again in (desk.read_link, lambda link: desk.answer(link, was_me=True)):
        with pytest.raises(LinkRefused, match="answered already"):
            again(link)
    assert (stream.label(CASE).source, stream.label(CASE).verdict) == ("customer", FRAUD)
    assert stream.label(CASE).fraud_probability == 0.9


def test_an_answer_that_is_being_kept_is_not_taken_twice(desk, stream, client):
    desk.ask_customer(CASE, "ada", None)
    link = token(desk, stream)
    client.get_map(ANSWERS).put(desk.read_link(link).link, "another dashboard").result()
    with pytest.raises(LinkRefused, match="is being kept"):
        desk.answer(link, was_me=True)


def test_a_link_ends_with_a_newer_one_and_with_a_verdict(desk, stream):
    desk.ask_customer(CASE, "ada", None)
    first = token(desk, stream)
    desk.ask_customer(CASE, "ada", seen(stream))
    second = token(desk, stream)
    with pytest.raises(LinkRefused, match="newer link"):
        desk.read_link(first)
    assert desk.read_link(second).transaction_number == CASE
    desk.judge(Label(CASE, FRAUD, "analyst", "ada"), seen(stream))
    with pytest.raises(LinkRefused, match="settled"):
        desk.answer(second, was_me=True)
    assert desk.address(stream.label(CASE)) is None
