"""A scorer with online inputs, with a challenger beside it, and with reasons."""

import json

import numpy as np
import pytest
from confluent_kafka import TopicPartition

from infra.errors import TerminalError
from infra.model_store import Bounds, Package, Roles
from infra.settings import KafkaSettings, ScoringSettings
from scoring.decode import decode_batch
from scoring.features import MODEL_INPUTS, Features
from scoring.history import ONLINE_INPUTS
from scoring.lineup import Lineup
from scoring.model import Model, load_model, unpack_model
from scoring.past import Past
from scoring.reasons import words
from scoring.scorer import Scorer, Source
from scoring.transaction import Reason
from tests.models import ONLINE, saved, trained
from tests.unit.test_scorer import features, good

__all__ = ["features"]
STATIC = ("amt", "distance_from_home", "age")


@pytest.fixture(scope="module")
def package() -> Package:
    return trained(threshold=0.4)


@pytest.fixture(scope="module")
def static() -> Package:
    return trained(STATIC, seed=2, threshold=0.3)


def scored(lineup: Lineup, features: Features, messages: list[bytes], **settings: object) -> tuple[Scorer, list[dict]]:
    scorer = Scorer(lineup, features, ScoringSettings(**settings))
    scorer.observe = Past(KafkaSettings(), features).observe
    source = Source("Transactions", [0] * len(messages), list(range(len(messages))))
    result = scorer.score(messages, source, 0)
    assert len(result.values) == len(messages)
    answers = [json.loads(value) for value in result.values]
    for position in result.alerts:
        answers[position]["alert"] = True
    return scorer, answers


def transactions(count: int) -> list[bytes]:
    return [good(trans_num=f"t{i}", amt=10.0 + i, transaction_date=f"2025-03-04 05:{i:02d}:00") for i in range(count)]


def test_a_model_gets_the_inputs_of_its_manifest_in_its_order(features, package):
    model = unpack_model(package)
    _, answers = scored(Lineup(model), features, transactions(5))
    assert [a["card_count_24h"] for a in answers] == [0, 1, 2, 3, 4]
    assert [a["card_seconds_since_last"] for a in answers] == [None, 60, 60, 60, 60]
    assert not {"card_count_1h", "challenger_probability"} & set(answers[0])
    renamed = {"amt": "amount"}
    missing = float("nan")
    matrix = [
        [missing if a[renamed.get(name, name)] is None else a[renamed.get(name, name)] for name in ONLINE]
        for a in answers
    ]
    probability, _ = model.predict(np.array(matrix, np.float32))
    assert [a["fraud_probability"] for a in answers] == pytest.approx(probability.tolist(), abs=1e-6)
    assert {a["model_version"] for a in answers} == {package.version}


def test_a_history_outlives_a_time_without_partitions(features):
    """A scorer that read back for too long has lost them; to read again would take as long again, and never end."""
    past = Past(KafkaSettings(), features)  # no Kafka: it cannot read
    batch, _ = features.build(*decode_batch(transactions(3))[:2])
    past.observe(batch, [0, 0, 0], [4, 5, 6])
    past.restore([], lambda: None)
    past.restore([TopicPartition("Transactions", 0, 7)], lambda: None)
    with pytest.raises(TerminalError, match="no Kafka"):
        past.restore([TopicPartition("Transactions", 0, 8)], lambda: None)


def test_an_alert_says_why(features, package):
    _, answers = scored(Lineup(unpack_model(package)), features, [*transactions(3), good(trans_num="t", amt=900.0)])
    assert [a.get("alert", False) for a in answers] == [False, False, False, True]
    assert [("reasons" in a) for a in answers] == [False, False, False, True]
    first = answers[3]["reasons"][0]
    assert (first["input"], first["value"], first["text"]) == ("amt", 900.0, "an amount of 900.00")
    assert first["contribution"] > 0
    _, answers = scored(Lineup(unpack_model(package)), features, [good(amt=900.0)], explain_alerts=False)
    assert "reasons" not in answers[0]


def test_the_threshold_is_the_manifests_unless_a_setting_names_one(features, package):
    lineup = Lineup(unpack_model(package))
    _, answers = scored(lineup, features, [good(amt=900.0)])
    assert "alert" in answers[0]
    _, answers = scored(lineup, features, [good(amt=900.0)], alert_threshold=1.0)
    assert "alert" not in answers[0]


def test_a_shadow_answers_beside_the_champion(features, package, static):
    roles = Roles(champion=static.version, challenger=package.version, mode="shadow")
    champion, challenger = unpack_model(static), unpack_model(package)
    scorer, answers = scored(Lineup(champion, challenger, roles), features, transactions(20))
    _, alone = scored(Lineup(champion), features, transactions(20))
    _, theirs = scored(Lineup(challenger), features, transactions(20))
    assert [a["fraud_probability"] for a in answers] == [a["fraud_probability"] for a in alone]
    assert [a["challenger_probability"] for a in answers] == [a["fraud_probability"] for a in theirs]
    assert {(a["model_version"], a["challenger_version"]) for a in answers} == {(static.version, package.version)}
    assert scorer.challenger
    assert scorer.challenger.trial.transactions == 20


@pytest.mark.parametrize(("share", "decides"), [(1.0, True), (1e-9, False)])
def test_a_canary_decides_for_its_cards(features, package, static, share, decides):
    roles = Roles(champion=static.version, challenger=package.version, mode="canary", canary_share=share)
    challenger = unpack_model(package)
    messages = [*transactions(5), good(trans_num="t", amt=900.0)]
    _, answers = scored(Lineup(unpack_model(static), challenger, roles), features, messages)
    _, theirs = scored(Lineup(challenger), features, messages)
    assert {a["model_version"] for a in answers} == {package.version if decides else static.version}
    assert ([a["fraud_probability"] for a in answers] == [a["fraud_probability"] for a in theirs]) == decides
    assert (answers[-1]["reasons"] == theirs[-1]["reasons"]) == decides


def test_a_card_is_the_canarys_or_not_on_every_scorer_and_at_any_time(features, package, static):
    """Its token says which; raising the share takes cards in, and no other one out."""
    champion, challenger = unpack_model(static), unpack_model(package)
    message = good(trans_num="t")
    _, (alone,) = scored(Lineup(champion), features, [message])
    own = int(alone["card_token"][:8], 16) / 2**32
    for share, decides in ((np.nextafter(own, 1), True), (own, False)):
        roles = Roles(champion=static.version, challenger=package.version, mode="canary", canary_share=float(share))
        for _ in range(5):
            scorer, answers = scored(Lineup(champion, challenger, roles), features, [message])
            scorer.features = features  # as when a new version is loaded
            again = scorer.score([message], Source("Transactions", [0], [1]), 0).values
            versions = {answer["model_version"] for answer in (*answers, *map(json.loads, again))}
            assert versions == {package.version if decides else static.version}


class Broken(Model):
    def predict(self, inputs):
        raise RuntimeError("out of its mind")


def test_a_challenger_that_fails_loses_no_transaction(features, package, static):
    challenger = unpack_model(package)
    broken = Broken(challenger.manifest, challenger.session, challenger.input_name, challenger.outputs)
    champion = unpack_model(static)
    for mode, share in (("shadow", 0.0), ("canary", 1.0)):
        roles = Roles(champion=static.version, challenger=package.version, mode=mode, canary_share=share)
        scorer, answers = scored(Lineup(champion, broken, roles), features, transactions(3))
        assert {a["model_version"] for a in answers} == {static.version}
        assert scorer.challenger
        assert "failed in 1 batches, 0 are allowed: RuntimeError: out" in str(scorer.challenger.trial.verdict(Bounds()))


class Odd(Model):
    """Gives the first row of a batch the label 2."""

    def predict(self, inputs):
        probability, label = super().predict(inputs)
        return probability, np.where(np.arange(len(label)) == 0, 2, label)


@pytest.mark.parametrize("mode", ["shadow", "canary"])
def test_a_challengers_answer_that_is_none_counts_as_a_failure(features, package, static, mode):
    odd = unpack_model(package)
    odd.__class__ = Odd
    roles = Roles(champion=static.version, challenger=package.version, mode=mode, canary_share=1.0)
    scorer, answers = scored(Lineup(unpack_model(static), odd, roles), features, transactions(3))
    assert {a["model_version"] for a in answers} == {static.version}
    assert scorer.challenger
    assert "a label is neither 0 nor 1" in scorer.challenger.trial.error


class WithoutAnswer(Model):
    """Has none to an amount of 11."""

    def predict(self, inputs):
        probability, label = super().predict(inputs)
        return np.where(inputs[:, self.matrix.names.index("amt")] == 11, np.nan, probability).astype(np.float32), label


@pytest.mark.parametrize("mode", ["shadow", "canary"])
def test_what_the_champion_has_no_answer_to_takes_nothing_from_the_rest(features, package, static, mode):
    """Online inputs, the challenger's answers and reasons stay with their rows, and the history has every row."""
    roles = Roles(champion=package.version, challenger=static.version, mode=mode, canary_share=1.0)
    champion, challenger = unpack_model(package), unpack_model(static)
    messages = [*transactions(3), good(trans_num="t", amt=900.0, transaction_date="2025-03-04 05:30:00")]
    _, whole = scored(Lineup(champion, challenger, roles), features, messages)
    champion.__class__ = WithoutAnswer
    scorer = Scorer(Lineup(champion, challenger, roles), features, ScoringSettings())
    scorer.observe = Past(KafkaSettings(), features).observe
    result = scorer.score(messages, Source("Transactions", [0] * 4, list(range(4))), 0)
    assert {position: rejected.reason for position, rejected in result.rejected.items()} == {1: Reason.NO_ANSWER}
    times = {"inference_time_ns": 0, "transaction_processing_total_time": 0}
    rest = [{**answer, **times} for number, answer in enumerate(whole) if number != 1]
    found = [{**json.loads(value), **times} for value in result.values]
    for position in result.alerts:
        found[position]["alert"] = True
    assert found == rest
    assert "reasons" in found[2]


@pytest.mark.parametrize(
    ("bounds", "problem"),
    [
        (Bounds(after=20, highest_alert_rate=0.5), "100.00% of 20 transactions were alerts, not 0.00% to 50.00%"),
        (Bounds(after=20, highest_alert_rate=1.0, inference_factor=1e-9), "times as long as the champion"),
        (Bounds(after=21, highest_alert_rate=0.5), None),
        (Bounds(after=20, highest_alert_rate=1.0, inference_factor=1e9), None),
    ],
)
def test_a_challenger_out_of_its_bounds_must_go(features, static, bounds, problem):
    every = unpack_model(trained(STATIC, seed=3, threshold=0.0))
    roles = Roles(champion=static.version, challenger=every.version, mode="shadow", bounds=bounds)
    scorer, _ = scored(Lineup(unpack_model(static), every, roles), features, transactions(20))
    assert scorer.challenger
    verdict = scorer.challenger.trial.verdict(bounds)
    assert verdict is None if problem is None else problem in str(verdict)


def test_files_that_do_not_belong_together_are_refused(package, static, tmp_path):
    path = saved(package, tmp_path)
    assert load_model(path).version == package.version
    path.write_bytes(static.model)
    with pytest.raises(TerminalError, match=f"has sha256 {static.sha256}, expected {package.sha256}"):
        load_model(path)
    with pytest.raises(TerminalError, match="its manifest is that of another file"):
        unpack_model(Package(package.model, static.manifest))
    with pytest.raises(TerminalError, match="its booster is not the one"):
        unpack_model(Package(package.model, package.manifest, static.booster))


@pytest.mark.parametrize("name", [*MODEL_INPUTS, *ONLINE_INPUTS])
@pytest.mark.parametrize("value", [None, 0.0, 5.0, 1234.5])
def test_every_input_has_words(name, value):
    said = words(name, value)
    assert said
    assert "_" not in said
    assert "nan" not in said


def test_words_are_those_of_people():
    assert words("card_count_1h", 5.0) == "5 transactions in the last hour"
    assert words("card_seconds_since_last", 95.0) == "95 seconds after the last"
    assert words("card_first_at_merchant", 1.0) == "the card's first at this merchant in 7 days"
    assert words("card_mean_24h", None) == "no transaction of the card in the last 24 hours"
