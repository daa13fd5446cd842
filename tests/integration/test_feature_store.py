"""Features in a real Hazelcast: whole versions or none, whatever happens to a load."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hazelcast.client import HazelcastClient
from polars.testing import assert_frame_equal

from infra.errors import TransientError
from infra.feature_store import FeatureStore
from infra.feature_tables import FeatureTables, parts_of
from infra.hazelcast import CUSTOMERS, MERCHANTS, SNAPSHOTS, connect
from infra.settings import Settings
from scoring.feature_files import read_feature_files
from scoring.features import Features
from simulator.population import simulate_population, write_population


@pytest.fixture
def store(settings: Settings, client: HazelcastClient) -> FeatureStore:
    return FeatureStore(client)


def tables(folder: Path, seed: int = 1, customers: int = 300) -> FeatureTables:
    directory = folder / f"{seed}-{customers}"
    write_population(simulate_population(customers, 20, seed), directory)
    return read_feature_files(directory)


def assert_equal(found: FeatureTables, expected: FeatureTables) -> None:
    assert found.version == expected.version
    assert_frame_equal(found.customers, expected.customers)
    assert_frame_equal(found.merchants, expected.merchants)
    assert found.dictionaries == expected.dictionaries


def test_what_was_loaded_is_read_back(store: FeatureStore, client: HazelcastClient, tmp_path: Path):
    expected = tables(tmp_path)
    told = []
    assert store.load(expected, lambda done, total: told.append((done, total)))
    manifest = store.read_manifest()
    assert manifest is not None
    assert manifest.state == "ready"
    assert manifest.counts == expected.counts
    assert manifest.sha256 == expected.sha256
    assert_equal(store.read_snapshot(manifest), expected)
    assert told[-1] == (sum(expected.counts.values()),) * 2
    customer = expected.customers.row(0, named=True)
    stored = client.get_map(CUSTOMERS).get(customer["card"]).result()
    assert json.loads(stored.to_string()) == customer
    assert client.get_map("genders").get("F").result() == expected.dictionaries["genders"]["F"]


def test_nothing_in_hazelcast_is_pickled(store: FeatureStore, client: HazelcastClient, tmp_path: Path):
    store.load(tables(tmp_path))
    service = client._context.serialization_service
    pickled = -120
    for name in (CUSTOMERS, MERCHANTS, SNAPSHOTS, "genders", "featureManifest"):
        for key, value in client.get_map(name).entry_set().result()[:3]:
            assert service.to_data(key).get_type() != pickled
            assert service.to_data(value).get_type() != pickled


def test_unchanged_files_load_nothing(store: FeatureStore, tmp_path: Path):
    assert store.load(tables(tmp_path))
    before = store.read_manifest()
    assert not store.load(tables(tmp_path))
    assert store.read_manifest() == before


@pytest.mark.parametrize("lost", [CUSTOMERS, MERCHANTS, SNAPSHOTS, "genders"])
def test_what_the_cluster_lost_is_loaded_again(store, client, tmp_path: Path, lost: str):
    expected = tables(tmp_path)
    store.load(expected)
    client.get_map(lost).clear().result()
    assert store.load(expected)
    assert client.get_map(CUSTOMERS).size().result() == 300
    manifest = store.read_manifest()
    assert_equal(store.read_snapshot(manifest), expected)


def test_scorers_can_read_the_version_before_and_none_before_that(store: FeatureStore, client, tmp_path: Path):
    first, second, third = (tables(tmp_path, seed, customers) for seed, customers in ((1, 300), (2, 200), (3, 100)))
    store.load(first)
    oldest = store.read_manifest()
    assert store.load(second)
    assert sorted(client.get_map(CUSTOMERS).key_set().result()) == sorted(second.customers["card"].to_list())
    assert_equal(store.read_snapshot(oldest), first)
    older = store.read_manifest()
    assert store.load(third)
    assert_equal(store.read_snapshot(older), second)
    with pytest.raises(TransientError, match="run load-features"):
        store.read_snapshot(oldest)
    assert client.get_map(SNAPSHOTS).size().result() == len(older.chunks) + len(store.read_manifest().chunks)


def test_a_load_that_dies_half_way_leaves_the_version_before_in_use(store, tmp_path: Path):
    expected = tables(tmp_path)
    store.load(expected)
    newer = tables(tmp_path, seed=2)

    def die(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.load(newer, die)
    assert_equal(store.read_snapshot(store.read_manifest()), expected)
    # The old files are not "unchanged": the maps hold rows of both versions.
    assert store.load(expected)
    assert store.load(newer)
    assert_equal(store.read_snapshot(store.read_manifest()), newer)


def test_two_loads_do_not_mix(store: FeatureStore, settings: Settings, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("infra.feature_store.LOCK_SECONDS", 0.1)
    other = connect(settings.hazelcast)

    def meanwhile(done: int, total: int) -> None:
        with pytest.raises(TransientError, match="another load"):
            FeatureStore(other).load(tables(tmp_path, seed=2))

    try:
        store.load(tables(tmp_path), meanwhile)
    finally:
        other.shutdown()


def test_the_lock_of_a_loader_that_is_gone_is_free(store: FeatureStore, settings: Settings, tmp_path: Path):
    other = connect(settings.hazelcast)

    def vanish(done: int, total: int) -> None:
        other.shutdown()

    with pytest.raises(Exception, match=r"not active|shut ?down|Hazelcast"):
        FeatureStore(other).load(tables(tmp_path), vanish)
    assert store.load(tables(tmp_path))


def test_clear_leaves_nothing(store: FeatureStore, client: HazelcastClient, tmp_path: Path):
    store.load(tables(tmp_path))
    store.clear()
    assert store.read_manifest() is None
    for name in (CUSTOMERS, MERCHANTS, SNAPSHOTS, "genders", "zipCodes"):
        assert client.get_map(name).size().result() == 0


@pytest.mark.parametrize("loaded", ["whole", "in part", "whole, and another one in part"])
def test_a_clearing_that_broke_off_is_not_taken_for_one_that_ended(
    store: FeatureStore, client: HazelcastClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: str
):
    def die(*_: object) -> None:
        raise TransientError("the member is gone")

    if loaded != "in part":
        store.load(tables(tmp_path))
        if loaded != "whole":
            newer = tables(tmp_path, seed=2)
            with pytest.raises(TransientError):
                store.load(replace(newer, dictionaries=newer.dictionaries | {"newCodes": {"x": 1}}), die)
            client.get_map("newCodes").put("x", 1).result()
        get_map = client.get_map
        with monkeypatch.context() as patch:
            patch.setattr(client, "get_map", lambda name: die() if name == "genders" else get_map(name))
            with pytest.raises(TransientError):
                store.clear()
        assert store.read_manifest() is None, "no reader takes up what is half gone"
    else:
        with pytest.raises(TransientError):
            store.load(tables(tmp_path), die)
    assert not store.is_empty()
    store.clear()
    assert store.is_empty()
    for name in (*tables(tmp_path).counts, "newCodes"):
        assert client.get_map(name).size().result() == 0, name


def test_many_customers_are_read_part_by_part(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("infra.feature_store.SNAPSHOT_ROWS", 50)
    expected = tables(tmp_path)
    store.load(expected)
    manifest = store.read_manifest()
    assert (manifest.parts, manifest.customers) == (240, 300)
    part = parts_of(map(int, expected.customers["card"]), 240)
    assert_frame_equal(
        store.read_customers(manifest, {int(part[0]), int(part[1])}),
        expected.customers.filter(pl.Series((part == part[0]) | (part == part[1]))),
        check_row_order=False,
    )
    assert_frame_equal(store.read_snapshot(manifest).customers, expected.customers, check_row_order=False)
    assert store.read_snapshot(manifest, ()).customers.height == 0
    for seed in (2, 3):
        assert store.read_customers(manifest, {int(part[0])}).height
        store.load(tables(tmp_path, seed))
    with pytest.raises(TransientError, match="run load-features"):
        store.read_customers(manifest, {int(part[0])})


def test_scorers_look_up_what_was_loaded(store: FeatureStore, tmp_path: Path):
    store.load(tables(tmp_path))
    features = Features(store.read_snapshot(store.read_manifest()))
    assert features.customer.frame.height == 300
    assert not features.customer.incomplete.any()
