"""Models with a past, and models that change, while transactions flow through a real Kafka."""

import dataclasses
import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from infra.feature_store import FeatureStore
from infra.feature_tables import FeatureTables
from infra.kafka import (
    client_config,
    delete_topics,
    ensure_topics,
    group_members,
    last_records,
    partitions,
)
from infra.model_store import Bounds, ModelStore, Roles
from infra.seeding import seed
from infra.settings import Settings
from infra.transaction_sources import FrameSource
from scoring.bookmark import Bookmark, decode_bookmark
from scoring.decode import decode_batch
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.history import ONLINE_INPUTS, History
from scoring.inputs import events_of
from scoring.model import Model, unpack_model
from simulator.population import write_population
from simulator.transactions import Simulation
from tests.integration.scored import drain, produce, simulated, written
from tests.kafka_log import read, values
from tests.models import ONLINE, saved, trained
from tests.waiting import until

STATIC = ("amt", "distance_from_home")
USED = tuple(name for name in ONLINE if name in ONLINE_INPUTS)


@pytest.fixture
def tables(client, population) -> FeatureTables:
    """The features of the population, loaded."""
    tables = read_feature_files(population[1])
    FeatureStore(client).load(tables)
    return tables


def predictions(settings: Settings) -> list[dict]:
    return values(settings.kafka, settings.kafka.topics.predictions)


def place(prediction: dict) -> tuple[int, int]:
    return prediction["source_partition"], prediction["source_offset"]


def newest(settings: Settings, field: str) -> set:
    """What the newest prediction of each partition says."""
    return {
        json.loads(m.value() or b"").get(field) for m in last_records(settings.kafka, settings.kafka.topics.predictions)
    }


def scored_again(settings: Settings, features: Features, model: Model) -> dict[tuple[int, int], list]:
    """Every transaction's online inputs and probability, computed in one go from the log as it stands in Kafka."""
    log = read(settings.kafka, settings.kafka.topics.transactions)
    found: dict[tuple[int, int], list] = {}
    columns = [ONLINE_INPUTS.index(name) for name in USED]
    for partition in {m.partition() for m in log}:
        messages = [m for m in log if m.partition() == partition]
        rows, positions, _ = decode_batch([m.value() for m in messages])
        batch, _ = features.build(rows, positions)
        online = History().observe(events_of(batch))
        probability, _ = model.predict(model.matrix.build(batch.inputs, online))
        for position, row, chance in zip(batch.positions, online[:, columns], probability, strict=True):
            found[partition, messages[position].offset()] = [None if np.isnan(v) else v for v in row] + [chance]
    return found


def answers(predictions: list[dict], probability: str = "fraud_probability") -> dict[tuple[int, int], list]:
    """The same as these predictions have it."""
    return {
        place(p): [None if p[name] is None else np.float32(p[name]) for name in (*USED, probability)]
        for p in predictions
    }


def test_online_features_survive_a_kill_a_rebalance_poison_and_new_features(
    settings, client, spawn, population, tables, tmp_path: Path
):
    """They are those of one pass over the log, to the last bit, and so are the probabilities."""
    made, _ = population
    model = trained()
    changes = {
        "FRAUDFLOW_SCORING__MODEL": str(saved(model, tmp_path)),
        "FRAUDFLOW_SCORING__MAX_BATCH": "100",
        "FRAUDFLOW_SCORING__FEATURE_POLL_SECONDS": "0.1",
        "FRAUDFLOW_SCORING__SNAPSHOT_ROWS": "2000",
    }
    seed(settings.kafka, simulated(made, 20_000), "first")
    produce(settings, [b"poison", b"{}"] * 20)
    seed(settings.kafka, simulated(made, 40_000), "second")
    scorer = spawn("0", **changes | {"FRAUDFLOW_SCORING__MAX_BATCH": "20"})  # far from the end when it dies
    until(lambda: written(settings) > 10_000, what="progress")
    scorer.send_signal(signal.SIGKILL)
    scorer.wait()
    assert written(settings) < 50_000
    scorer = spawn("0", **changes | {"FRAUDFLOW_SCORING__MAX_BATCH": "300"})
    until(lambda: written(settings) > 25_000, what="progress")
    write_population(
        dataclasses.replace(made, customers=made.customers.with_columns(city=pl.lit("Newtown"))), tmp_path / "moved"
    )
    newer = read_feature_files(tmp_path / "moved")
    FeatureStore(client).load(newer)

    def scored_with_newer() -> bool:
        # Enough cards for each partition to have some: one that was scored to its end before has the old version last.
        seed(settings.kafka, simulated(made, 100), os.urandom(4).hex())
        return newest(settings, "features_version") == {newer.version}

    until(scored_with_newer, what="the new features")
    spawn("1", **changes)
    until(lambda: group_members(settings.kafka, settings.scoring.group_id) == 2, what="two scorers")
    before = written(settings)
    seed(settings.kafka, simulated(made, 20_000), "third")
    until(lambda: written(settings) > before + 5_000, what="progress with two")
    scorer.terminate()
    assert scorer.wait(15) == 0
    drain(settings)
    found = predictions(settings)
    again = scored_again(settings, Features(tables), unpack_model(model))
    assert len(found) == len(again) > 80_000
    assert answers(found) == again


def test_a_snapshot_shortens_the_way_back_and_a_damaged_one_changes_nothing(
    settings, spawn, population, tables, tmp_path: Path
):
    """After a kill -9 the rest of the log alone is read; where the snapshot is other bytes, or gone, all of it."""
    made, _ = population
    model = trained()
    changes = {
        "FRAUDFLOW_SCORING__MODEL": str(saved(model, tmp_path)),
        "FRAUDFLOW_SCORING__MAX_BATCH": "300",
        "FRAUDFLOW_SCORING__SNAPSHOT_ROWS": "1000",
    }

    sent: list[int] = []

    def send(count: int) -> None:
        sent.append(count)
        part = f"part-{len(sent)}"
        simulation = Simulation(made, count, len(sent), days=9)  # all of it is remembered
        seed(settings.kafka, FrameSource(simulation.frames, count, part), part)

    def known() -> bool:
        send(1_000)  # what has been written is committed with the offsets of the next rows
        return all(bookmark.snapshot for _, bookmark in bookmarks(settings))

    send(16_000)
    scorer = spawn("0", **changes)
    drain(settings)
    until(known, what="snapshots to be committed")
    scorer.send_signal(signal.SIGKILL)
    scorer.wait()
    stood = bookmarks(settings)
    send(4_000)

    scorer = spawn("0", **changes)
    rows, from_snapshots = read_back(tmp_path, 1)
    assert from_snapshots == len(stood) == 4
    assert rows <= sum(offset - bookmark.snapshot.position for offset, bookmark in stood)
    assert rows < sum(offset - bookmark.start for offset, bookmark in stood) - 4_000
    drain(settings)
    scorer.terminate()
    assert scorer.wait(15) == 0

    damage(settings, settings.kafka.topics.histories)
    send(4_000)
    spawn("0", **changes)
    assert read_back(tmp_path, 2)[1] == 0
    log = (tmp_path / "scorer-0.log").read_text()
    for why in ("its sha256 is another", "retention has deleted it"):
        assert log.count(f"its snapshot is not used, the log is: {why}") == 2
    drain(settings)
    found = predictions(settings)
    again = scored_again(settings, Features(tables), unpack_model(model))
    assert len(found) == len(again) == sum(sent)
    assert answers(found) == again


def bookmarks(settings: Settings) -> list[tuple[int, Bookmark]]:
    """The committed offset of each partition, with what was committed beside it.

    The answer waits for the transaction that a killed scorer left open, for 10 s.
    """
    ask = [TopicPartition(settings.kafka.topics.transactions, number) for number in range(settings.kafka.partitions)]
    consumer = Consumer(client_config(settings.kafka) | {"group.id": settings.scoring.group_id})
    try:
        return [(at.offset, decode_bookmark(at.metadata)) for at in consumer.committed(ask, timeout=30)]
    finally:
        consumer.close()


def read_back(logs: Path, time: int) -> tuple[int, int]:
    """The rows that scorer 0 read back, and the partitions that had a snapshot, when it did so for the nth time."""

    def told() -> list[tuple[str, str]]:
        pattern = r"read (\d+) rows of \d+ partitions back, (\d+) of them"
        return re.findall(pattern, (logs / "scorer-0.log").read_text())

    until(lambda: len(told()) >= time, what="the history to be read back")
    rows, from_snapshots = told()[time - 1]
    return int(rows), int(from_snapshots)


def damage(settings: Settings, topic: str) -> None:
    """Put the same records at the same offsets with one bit of each turned over, in half of the partitions."""
    records = read(settings.kafka, topic)
    delete_topics(settings.kafka, [topic])
    until(lambda: topic not in partitions(settings.kafka), what="the topic to be gone")
    ensure_topics(settings.kafka)
    producer = Producer(client_config(settings.kafka))
    for record in (record for record in records if record.partition() in {0, 1}):
        value = bytearray(record.value() or b"")
        value[len(value) // 2] ^= 1
        producer.produce(topic, bytes(value), record.key(), record.partition() or 0)
    assert producer.flush(30) == 0


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


def answered_once(settings: Settings, sent: int) -> list[dict]:
    """All predictions; each transaction has one."""
    drain(settings)
    found = predictions(settings)
    sources = Counter(place(p) for p in found)
    assert len(sources) == len(found) == sent
    return found


def test_a_champion_is_swapped_and_a_shadow_answers_while_transactions_flow(settings, spawn, population, tables):
    made, _ = population
    store = ModelStore(settings.kafka)
    first, second = trained(STATIC, 1, threshold=0.5), trained(ONLINE, 2, threshold=0.5)
    for model in (first, second):
        store.publish(model)
    roles = store.assign(Roles(champion=first.version), 0)
    for slot in ("0", "1"):
        spawn(slot)
    until(lambda: group_members(settings.kafka, settings.scoring.group_id) == 2, what="two scorers")
    with flowing(settings, made) as sent:
        until(lambda: newest(settings, "model_version") == {first.version}, what="the first model")
        free = Bounds(highest_alert_rate=1.0, inference_factor=1e9)
        roles = store.assign(
            Roles(champion=first.version, challenger=second.version, mode="shadow", bounds=free), roles.generation
        )
        until(lambda: newest(settings, "challenger_version") == {second.version}, what="the shadow, everywhere")
        roles = store.assign(Roles(champion=second.version), roles.generation)
        until(lambda: newest(settings, "model_version") == {second.version}, what="the swap, everywhere")
    found = answered_once(settings, sent[0])
    shadowed = [p for p in found if "challenger_version" in p]
    assert {(p["model_version"], p["challenger_version"]) for p in shadowed} == {(first.version, second.version)}
    # What the model said in the shadow is what it says as the champion: its past is that of the whole log.
    crowned = [p for p in found if p["model_version"] == second.version]
    said = answers(shadowed, "challenger_probability") | answers(crowned)
    again = scored_again(settings, Features(tables), unpack_model(second))
    assert said == {where: again[where] for where in said}


def test_a_canary_has_its_cards_and_is_rolled_back(settings, spawn, population, tables):
    made, _ = population
    store = ModelStore(settings.kafka)
    champion, wild = trained(STATIC, 1, threshold=0.5), trained(STATIC, 4, threshold=0.0)
    for model in (champion, wild):
        store.publish(model)
    roles = store.assign(Roles(champion=champion.version), 0)
    spawn("0")
    with flowing(settings, made) as sent:
        until(lambda: newest(settings, "model_version") == {champion.version}, what="the champion's answers")
        bounds = Bounds(after=300, highest_alert_rate=0.5)
        store.assign(
            Roles(champion=champion.version, challenger=wild.version, mode="canary", canary_share=0.3, bounds=bounds),
            roles.generation,
        )

        def rolled_back() -> Roles | None:
            standing = store.read().roles
            return standing if standing and standing.generation == 3 else None

        until(lambda: rolled_back() is not None, 30, "the roll-back")
        behind = sent[0]
        until(lambda: sent[0] > behind + 200, what="transactions after the roll-back")
    found = answered_once(settings, sent[0])
    standing = rolled_back()
    assert standing is not None
    assert standing.challenger is None
    assert standing.champion == champion.version
    assert "100.00% of" in standing.why
    of_canary = [p for p in found if p["model_version"] == wild.version]
    assert {int(p["card_token"][:8], 16) / 2**32 < 0.3 for p in of_canary} == {True}
    assert 300 <= len(of_canary) < len(found) / 2
    alerts = {place(p): p for p in values(settings.kafka, settings.kafka.topics.alerts)}
    for p in of_canary:
        assert alerts[place(p)] == p
        # Below the average score nothing speaks for fraud, and there is no reason.
        assert all({"input", "value", "contribution", "text"} == set(reason) for reason in p["reasons"])
    assert any(p["reasons"] for p in of_canary)
