"""Models with a past, and models that change, while transactions flow through a real Kafka."""

import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from infra.feature_store import FeatureStore
from infra.model_store import Bounds, ModelStore, Roles
from infra.seeding import seed
from infra.settings import Settings
from scoring.decode import decode_batch
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.history import ONLINE_INPUTS, History
from scoring.inputs import observe
from scoring.model import unpack_model
from tests.integration.scored import committed, drain, produce, simulated
from tests.kafka_log import read, values
from tests.models import ONLINE, saved, trained
from tests.waiting import until

STATIC = ("amt", "distance_from_home")
WITHIN = 5.0
"""Seconds in which running scorers take a new role."""


def predictions(settings: Settings) -> list[dict]:
    return values(settings.kafka, settings.kafka.topics.predictions)


def expected(settings: Settings, features: Features) -> dict[tuple[int, int], tuple]:
    """The online inputs of every transaction of the log, computed in one go from what stands in Kafka."""
    log = read(settings.kafka, settings.kafka.topics.transactions)
    found: dict[tuple[int, int], tuple] = {}
    columns = [ONLINE_INPUTS.index(name) for name in ONLINE if name in ONLINE_INPUTS]
    for partition in {m.partition() for m in log}:
        messages = [m for m in log if m.partition() == partition]
        rows, positions, _ = decode_batch([m.value() for m in messages])
        batch, _ = features.build(rows, positions)
        online = observe(History(), batch)[:, columns]
        for position, row in zip(batch.positions, online, strict=True):
            found[partition, messages[position].offset()] = tuple(None if np.isnan(v) else v for v in row)
    return found


def seen(settings: Settings) -> dict[tuple[int, int], tuple]:
    names = [name for name in ONLINE if name in ONLINE_INPUTS]
    return {
        (p["source_partition"], p["source_offset"]): tuple(
            None if p[name] is None else np.float32(p[name]) for name in names
        )
        for p in predictions(settings)
    }


def test_online_features_survive_kills_rebalances_and_poison(settings, client, spawn, population, tmp_path: Path):
    """They are those of one pass over the log, to the last bit, and so are the probabilities."""
    made, directory = population
    tables = read_feature_files(directory)
    FeatureStore(client).load(tables)
    model = trained()
    changes = {"FRAUDFLOW_SCORING__MODEL": str(saved(model, tmp_path)), "FRAUDFLOW_SCORING__MAX_BATCH": "700"}
    seed(settings.kafka, simulated(made, 15_000), "first")
    produce(settings, [b"poison", b"{}"] * 20)
    seed(settings.kafka, simulated(made, 25_000), "second")
    scorer = spawn("0", **changes)
    for kills in range(1, 4):
        until(lambda at=kills: committed(settings) > at * 4_000, what="progress")
        scorer.send_signal(signal.SIGKILL)
        scorer.wait()
        scorer = spawn("0", **changes)
    until(lambda: committed(settings) > 18_000, what="progress")
    spawn("1", **changes)
    until(lambda: committed(settings) > 24_000, what="progress with two")
    scorer.terminate()
    assert scorer.wait(15) == 0
    drain(settings)
    answers, truth = seen(settings), expected(settings, Features.from_tables(tables))
    assert len(predictions(settings)) == len(answers) == 40_000
    assert answers == truth
    loaded = unpack_model(model)
    inputs = [[np.nan if p[n] is None else p[n] for n in ("amount", *ONLINE[1:])] for p in predictions(settings)]
    probability, _ = loaded.predict(np.array(inputs, np.float32))
    # The distance is rounded in a prediction, and only there.
    assert [p["fraud_probability"] for p in predictions(settings)] == pytest.approx(probability.tolist(), abs=0.02)


@contextmanager
def flowing(settings: Settings, made) -> Iterator[list[int]]:
    """Transactions come in, some hundreds a second; how many were sent is in the list when it ends."""
    stop, sent = threading.Event(), [0]

    def send() -> None:
        while not stop.wait(0.05):
            seed(settings.kafka, simulated(made, 50), f"flow-{sent[0]}")
            sent[0] += 50

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def all_answered_once(settings: Settings, sent: int) -> None:
    drain(settings)
    sources = Counter((p["source_partition"], p["source_offset"]) for p in predictions(settings))
    assert len(sources) == sent
    assert set(sources.values()) == {1}


def test_a_champion_is_swapped_and_a_shadow_answers_while_transactions_flow(settings, client, spawn, population):
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    store = ModelStore(settings.kafka)
    first, second = trained(STATIC, 1, threshold=0.5), trained(ONLINE, 2, threshold=0.5)
    for model in (first, second):
        store.publish(model)
    roles = store.assign(Roles(champion=first.version), 0)
    for slot in ("0", "1"):
        spawn(slot)
    with flowing(settings, made) as sent:
        until(lambda: {p["model_version"] for p in predictions(settings)} == {first.version}, what="the first model")
        free = Bounds(highest_alert_rate=1.0, inference_factor=1e9)
        roles = store.assign(
            Roles(champion=first.version, challenger=second.version, mode="shadow", bounds=free), roles.generation
        )
        until(lambda: any("challenger_version" in p for p in predictions(settings)), WITHIN, "the shadow")
        roles = store.assign(Roles(champion=second.version), roles.generation)
        until(lambda: predictions(settings)[-1]["model_version"] == second.version, WITHIN, "the swap")
    all_answered_once(settings, sent[0])
    shadowed = [p for p in predictions(settings) if "challenger_version" in p]
    assert {(p["model_version"], p["challenger_version"]) for p in shadowed} == {(first.version, second.version)}
    # The shadow's past was that of the whole log, and so is the champion's that it became.
    truth = expected(settings, Features.from_tables(read_feature_files(directory)))
    names = [name for name in ONLINE if name in ONLINE_INPUTS]
    for p in predictions(settings):
        if "challenger_version" in p or p["model_version"] == second.version:
            had = tuple(None if p[name] is None else np.float32(p[name]) for name in names)
            assert had == truth[p["source_partition"], p["source_offset"]]


def test_a_canary_has_its_cards_and_is_rolled_back(settings, client, spawn, population):
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    store = ModelStore(settings.kafka)
    champion, wild = trained(STATIC, 1, threshold=0.5), trained(STATIC, 4, threshold=0.0)
    for model in (champion, wild):
        store.publish(model)
    roles = store.assign(Roles(champion=champion.version), 0)
    spawn("0")
    with flowing(settings, made) as sent:
        until(lambda: committed(settings) > 0, what="the champion's answers")
        bounds = Bounds(after=300, highest_alert_rate=0.5)
        store.assign(
            Roles(champion=champion.version, challenger=wild.version, mode="canary", canary_share=0.3, bounds=bounds),
            roles.generation,
        )
        until(lambda: any(p["model_version"] == wild.version for p in predictions(settings)), WITHIN, "the canary")

        def rolled_back() -> bool:
            standing = store.read().roles
            return standing is not None and standing.generation == 3 and standing.challenger is None

        until(rolled_back, 30, "the roll-back")
        behind = committed(settings)
        until(lambda: committed(settings) > behind + 200, what="answers after the roll-back")
    all_answered_once(settings, sent[0])
    standing = store.read().roles
    assert standing is not None
    assert "100.00% of" in standing.why
    of_canary = [i for i, p in enumerate(predictions(settings)) if p["model_version"] == wild.version]
    during = [p for p in predictions(settings)]
    cards = {during[i]["card_token"] for i in of_canary}
    share = len(cards) / len({p["card_token"] for p in during})
    assert 0.05 < share < 0.45
    assert all(int(card[:8], 16) / 2**32 < 0.3 for card in cards)
    alerts = {p["transaction_number"] for p in values(settings.kafka, settings.kafka.topics.alerts)}
    assert {during[i]["transaction_number"] for i in of_canary} <= alerts
    told = [p["reasons"] for p in values(settings.kafka, settings.kafka.topics.alerts)]
    assert all(isinstance(json.dumps(reasons), str) for reasons in told)
