"""Answers of a real cluster are shared, renewed while somebody looks, and not forgotten when counting begins later."""

import pytest

from dashboard import queries, tally
from dashboard.answers import Answers
from dashboard.cluster import Cluster
from dashboard.queries import LOWEST, Filters, Since
from infra.hazelcast import SUSPECTS
from infra.projection import Projection
from tests.integration.predicted import prediction, produce
from tests.waiting import until

pytestmark = pytest.mark.server


def test_answers_are_renewed_while_somebody_looks(settings, client):
    Projection(client, settings).ensure()
    answers = Answers(Cluster(settings.hazelcast, query_seconds=20), renewing_share=0.5)
    below = round(LOWEST * 100)

    def suspected(*, since: Since = (), wait_seconds: float = 30) -> int | None:
        (answer,) = answers.ask(queries.suspected(Filters(), since=since), fresh_seconds=0, wait_seconds=wait_seconds)
        return tally.total(answer.frame)[0]

    produce(settings, [prediction(i) for i in range(100)])
    until(lambda: client.get_map(SUSPECTS).size().result() == 100 - below, what="the suspects")
    assert suspected() == 100 - below
    produce(settings, [prediction(i, fraud_probability=i / 100 - 1) for i in range(100, 200)])
    until(lambda: client.get_map(SUSPECTS).size().result() == 200 - 2 * below, what="the new suspects")
    until(lambda: suspected(wait_seconds=0) == 200 - 2 * below, what="an answer with the new ones")

    assert suspected(since=((0, 10),)) == 190 - below
    assert suspected(since=((0, 50),), wait_seconds=0) is not None, "counting moved on, and nothing is known any more"
    until(lambda: suspected(since=((0, 50),), wait_seconds=0) == 150 - below, what="an answer from the new beginning")


def test_whoever_comes_after_a_while_sees_what_is_there_by_then(settings, client, monkeypatch):
    monkeypatch.setattr("dashboard.answers._LOOKED_AT_SECONDS", 0.0)  # a while is over at once, and nothing is renewed
    Projection(client, settings).ensure()
    answers = Answers(Cluster(settings.hazelcast, query_seconds=20), renewing_share=0.5)
    question, below = queries.suspected(Filters()), round(LOWEST * 100)
    for sent in (0, 50, 100):
        produce(settings, [prediction(i) for i in range(max(sent - 50, 0), sent)])
        expected = max(sent - below, 0)
        until(
            lambda expected=expected: client.get_map(SUSPECTS).size().result() == expected, what=f"{expected} suspects"
        )
        answers.ask(question, fresh_seconds=0, wait_seconds=0)  # as a page does, ahead of its parts
        (answer,) = answers.ask(question, fresh_seconds=0, wait_seconds=30)
        assert tally.total(answer.frame)[0] == expected
