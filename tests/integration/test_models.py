"""Models with a past, and models that change, while transactions flow through a real Kafka."""

import dataclasses
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from infra.feature_store import FeatureStore
from infra.kafka import group_members
from infra.model_store import Bounds, ModelStore, Roles
from infra.seeding import seed
from infra.settings import Settings
from scoring.decode import decode_batch
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.history import ONLINE_INPUTS, History
from scoring.inputs import observe
from scoring.model import Model, unpack_model
from simulator.population import write_population
from tests.integration.scored import committed, drain, produce, simulated
from tests.kafka_log import read, values
from tests.models import ONLINE, saved, trained
from tests.waiting import until

STATIC = ("amt", "distance_from_home")
USED = tuple(name for name in ONLINE if name in ONLINE_INPUTS)
WITHIN = 5.0
"""Seconds in which running scorers take a new role."""


def predictions(settings: Settings) -> list[dict]:
    return values(settings.kafka, settings.kafka.topics.predictions)


def scored_again(settings: Settings, features: Features, model: Model) -> dict[tuple[int, int], list]:
    """Every transaction's online inputs and probability, computed in one go from the log as it stands in Kafka."""
    log = read(settings.kafka, settings.kafka.topics.transactions)
    found: dict[tuple[int, int], list] = {}
    columns = [ONLINE_INPUTS.index(name) for name in USED]
    for partition in {m.partition() for m in log}:
        messages = [m for m in log if m.partition() == partition]
        rows, positions, _ = decode_batch([m.value() for m in messages])
        batch, _ = features.build(rows, positions)
        online = observe(History(), batch)
        probability, _ = model.predict(model.matrix.build(batch.inputs, online))
        for position, row, chance in zip(batch.positions, online[:, columns], probability, strict=True):
            found[partition, messages[position].offset()] = [None if np.isnan(v) else v for v in row] + [chance]
    return found


def answers(settings: Settings, probability: str = "fraud_probability") -> dict[tuple[int, int], list]:
    """The same as the predictions have it, where they do."""
    return {
        (p["source_partition"], p["source_offset"]): [
            None if p[name] is None else np.float32(p[name]) for name in (*USED, probability)
        ]
        for p in predictions(settings)
        if USED[0] in p and probability in p
    }


def test_online_features_survive_kills_rebalances_poison_and_new_features(
    settings, client, spawn, population, tmp_path: Path
):
    """They are those of one pass over the log, to the last bit, and so are the probabilities."""
    made, directory = population
    tables = read_feature_files(directory)
    FeatureStore(client).load(tables)
    model = trained()
    changes = {"FRAUDFLOW_SCORING__MODEL": str(saved(model, tmp_path)), "FRAUDFLOW_SCORING__MAX_BATCH": "300"}
    changes |= {"FRAUDFLOW_SCORING__FEATURE_POLL_SECONDS": "0.1"}
    seed(settings.kafka, simulated(made, 20_000), "first")
    produce(settings, [b"poison", b"{}"] * 20)
    seed(settings.kafka, simulated(made, 40_000), "second")
    scorer = spawn("0", **changes)
    for kills in range(1, 4):
        until(lambda at=kills: committed(settings) > at * 4_000, what="progress")
        scorer.send_signal(signal.SIGKILL)
        scorer.wait()
        assert committed(settings) < 60_000
        scorer = spawn("0", **changes)
    write_population(
        dataclasses.replace(made, customers=made.customers.with_columns(city=pl.lit("Newtown"))), tmp_path / "moved"
    )
    newer = read_feature_files(tmp_path / "moved")
    FeatureStore(client).load(newer)

    def scored_with_newer() -> bool:
        seed(settings.kafka, simulated(made, 10), os.urandom(4).hex())
        return newer.version in {p["features_version"] for p in predictions(settings)}

    until(scored_with_newer, what="the new features")
    spawn("1", **changes)
    until(lambda: group_members(settings.kafka, settings.scoring.group_id) == 2, what="two scorers")
    seed(settings.kafka, simulated(made, 20_000), "third")
    until(lambda: committed(settings) > 62_000, what="progress with two")
    scorer.terminate()
    assert scorer.wait(15) == 0
    drain(settings)
    again = scored_again(settings, Features.from_tables(tables), unpack_model(model))
    assert len(predictions(settings)) == len(again) > 80_000
    assert answers(settings) == again


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
    # What the shadow said is what it says as the champion: the past is that of the whole log.
    again = scored_again(settings, Features.from_tables(read_feature_files(directory)), unpack_model(second))
    as_shadow = answers(settings, "challenger_probability")
    assert len(as_shadow) == len(shadowed)
    as_champion = {place: answer for place, answer in answers(settings).items() if place not in as_shadow}
    assert as_champion
    assert as_shadow | as_champion == {place: again[place] for place in as_shadow | as_champion}


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
    of_canary = [p for p in predictions(settings) if p["model_version"] == wild.version]
    assert {int(p["card_token"][:8], 16) / 2**32 < 0.3 for p in of_canary} == {True}
    alerts = {p["transaction_number"]: p for p in values(settings.kafka, settings.kafka.topics.alerts)}
    for p in of_canary:
        assert alerts[p["transaction_number"]] == p
        assert {"input", "value", "contribution", "text"} == set(p["reasons"][0])
