"""Models in a real Kafka: what is published comes back whole, and the roles change one after the other."""

import hashlib
import os

import msgspec
import pytest

from infra.errors import TerminalError
from infra.model_store import CHUNK_BYTES, ModelFollower, ModelStore, Package, Roles, RolesChanged
from scoring.manifest import encode_manifest, plain_manifest
from tests.waiting import until


def package(size: int = 1_000) -> Package:
    model = os.urandom(size)
    return Package(model, encode_manifest(plain_manifest(model)), os.urandom(size))


def test_a_model_comes_back_whole_and_has_its_role(settings):
    store = ModelStore(settings.kafka)
    assert store.read().roles is None
    large = package(2 * CHUNK_BYTES + 1)
    assert store.publish(large) == large.version == hashlib.sha256(large.model).hexdigest()[:16]
    store.publish(large)
    assert store.read().versions() == [large.version]
    assert store.read().package(large.version) == large
    standing = store.assign(Roles(champion=large.version, who="a test", why="it is the first"), 0)
    assert (standing.generation, standing.why) == (1, "it is the first")
    assert store.read().roles == standing


def test_roles_decided_on_older_ones_are_refused(settings):
    store, first, second = ModelStore(settings.kafka), package(), package()
    for one in (first, second):
        store.publish(one)
    roles = store.assign(Roles(champion=first.version), 0)
    store.assign(Roles(champion=first.version, challenger=second.version, mode="shadow"), roles.generation)
    with pytest.raises(RolesChanged, match="of generation 2, not 1"):
        store.assign(Roles(champion=second.version), roles.generation)
    standing = store.read().roles
    assert standing is not None
    assert standing.challenger == second.version


def test_what_cannot_be_is_refused(settings):
    store, one = ModelStore(settings.kafka), package()
    with pytest.raises(TerminalError, match=r"no model 0123456789abcdef; there are: none"):
        store.assign(Roles(champion="0123456789abcdef"), 0)
    store.publish(one)
    with pytest.raises(TerminalError, match="is the champion already"):
        store.assign(Roles(champion=one.version, challenger=one.version, mode="shadow"), 0)
    with pytest.raises(TerminalError, match="a share of the cards"):
        store.assign(Roles(champion=one.version, challenger="0" * 16, mode="canary"), 0)
    with pytest.raises(TerminalError, match="is that of the model"):
        store.publish(Package(b"another", one.manifest))
    assert store.read().roles is None


def test_who_follows_hears_of_changes(settings):
    store, one = ModelStore(settings.kafka), package()
    follower = ModelFollower(settings.kafka)
    try:
        assert follower.catch_up().roles is None
        store.publish(one)
        standing = store.assign(Roles(champion=one.version), 0)
        until(lambda: follower.poll() and follower.models.roles == standing, what="the roles")
        assert msgspec.json.decode(follower.models.package(one.version).manifest)["sha256"] == one.sha256
    finally:
        follower.close()
