"""The deployment load-features on a Prefect server: what does not end it."""

from pathlib import Path

import httpx
import pytest
from hazelcast.client import HazelcastClient
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate

from flows.load_features import load_features
from infra.errors import TerminalError, TransientError
from infra.feature_store import FeatureStore
from infra.hazelcast import connect
from infra.settings import HazelcastSettings, Settings
from scoring.feature_files import read_feature_files

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("on_prefect")]


def test_features_are_loaded_though_prefect_does_not_take_the_progress(
    settings: Settings, client: HazelcastClient, data: Path, monkeypatch: pytest.MonkeyPatch
):
    create, refused = SyncPrefectClient.create_artifact, []

    def fail_once(self: SyncPrefectClient, artifact: ArtifactCreate) -> object:
        if not refused:
            refused.append("created")
            raise httpx.ReadTimeout("the server is busy")
        return create(self, artifact)

    def fail(*_: object, **__: object) -> None:
        refused.append("updated")
        raise httpx.ReadTimeout("the server is busy")

    monkeypatch.setattr("tasks.features.PROGRESS_SECONDS", 0)
    monkeypatch.setattr(SyncPrefectClient, "create_artifact", fail_once)
    monkeypatch.setattr(SyncPrefectClient, "update_artifact", fail)
    assert load_features(data=str(data))["loaded"]
    assert set(refused) == {"created", "updated"}
    manifest = FeatureStore(client).read_manifest()
    assert manifest is not None
    assert manifest.version == read_feature_files(data).version


def test_the_folder_that_was_loaded_last_is_asked_for_again_when_hazelcast_was_away(
    settings: Settings, client: HazelcastClient, data: Path, monkeypatch: pytest.MonkeyPatch
):
    FeatureStore(client).load(read_feature_files(data))
    asked = []

    def away_once(hazelcast: HazelcastSettings) -> HazelcastClient:
        asked.append(hazelcast)
        if len(asked) == 1:
            raise TransientError("no member answers")
        return connect(hazelcast)

    monkeypatch.setattr("tasks.features.connect", away_once)
    again = load_features()
    assert again["source"] == str(data)
    assert not again["loaded"]


def test_what_is_loaded_again_is_never_the_simulators(settings: Settings, client: HazelcastClient, data: Path):
    with pytest.raises(TerminalError, match="no features are loaded"):
        load_features(again=True)
    assert FeatureStore(client).read_manifest() is None
    FeatureStore(client).load(read_feature_files(data))
    again = load_features(again=True)
    assert (again["source"], again["loaded"]) == (str(data), False)
