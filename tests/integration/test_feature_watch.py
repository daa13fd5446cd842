"""What a scorer takes for features, and what it says where it can take none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hazelcast.client import HazelcastClient

from infra.errors import TerminalError
from infra.feature_store import FeatureStore
from infra.hazelcast import MANIFEST
from infra.settings import HazelcastSettings, Settings
from scoring.feature_files import read_feature_files
from scoring.feature_watch import FeatureWatch
from simulator.population import simulate_population, write_population
from tests.waiting import until


@pytest.fixture
def watch(settings: Settings) -> Iterator[FeatureWatch]:
    settings.scoring.feature_poll_seconds = 0.1
    watch = FeatureWatch(settings)
    watch.start()
    yield watch
    watch.stop()
    watch.join(20)


def test_where_no_hazelcast_is_named_nobody_waits_for_it(settings: Settings):
    watch = FeatureWatch(settings.model_copy(update={"hazelcast": HazelcastSettings()}))
    watch.start()
    with pytest.raises(TerminalError, match="HAZELCAST"):
        watch.wait(10)


@pytest.mark.server
def test_features_that_cannot_be_read_are_told_and_waited_for(
    watch: FeatureWatch, client: HazelcastClient, tmp_path: Path
):
    until(lambda: "run load-features" in watch.state, what="the look at an empty cluster")
    manifests = client.get_map(MANIFEST).blocking()
    manifests.set("current", "of another release")
    until(lambda: "these cannot" in watch.state, what="what is wrong with them")
    write_population(simulate_population(300, 20, 1), tmp_path)
    manifests.clear()
    FeatureStore(client).load(read_feature_files(tmp_path))
    assert until(lambda: watch.wait(0.1), what="features").customer.frame.height == 300
    manifests.set("current", "of another release")
    until(lambda: "these cannot" in watch.state, what="what is wrong with the newer ones")
    assert watch.newest() is not None
