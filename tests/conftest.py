"""Real servers for the tests: started once for a run, on free ports, and gone afterwards."""

import json
import os
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import hazelcast
import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import BaseModel, SecretStr

from infra.hazelcast import connect
from infra.kafka import delete_topics, ensure_topics, topic_names
from infra.local import stack
from infra.local.guard import guarded
from infra.settings import Settings, Topics, get_settings
from tests.servers import local

PROJECT = Path(__file__).parents[1]
REFERENCE = PROJECT.parent / "shared" / "reference"


def pytest_configure() -> None:
    """Keep the settings of whoever runs the tests out of them: no variable, no .env, no running stack."""
    for name in [name for name in os.environ if name.startswith(("FRAUDFLOW_", "PREFECT_"))]:
        del os.environ[name]
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["FRAUDFLOW_DASHBOARD__GIVE_WAY"] = "false"  # tests leave nothing over
    Settings.model_config["env_file"] = None
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def reference() -> Path:
    if not REFERENCE.is_dir():
        pytest.skip(f"the reference data set is not at {REFERENCE}")
    return REFERENCE


@contextmanager
def running(home: Path, services: Collection[str], **changes: object) -> Iterator[Settings]:
    """A stack of these services in `home`; when the run ends or is killed, so does the stack."""
    settings = Settings(**{"local": local(home)} | changes)
    with guarded(home):
        stack.up(settings, services=services)
        yield stack.with_addresses(settings)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """One Kafka and one Hazelcast for the whole run."""
    with running(tmp_path_factory.mktemp("stack"), {stack.KAFKA, stack.HAZELCAST}) as settings:
        yield settings


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Prefect server for the whole run; its address."""
    with running(tmp_path_factory.mktemp("prefect"), {stack.PREFECT}) as settings:
        yield str(settings.prefect_api_url)


@contextmanager
def reporting_to(prefect_api_url: str) -> Iterator[None]:
    """Run flows in this process on that server.

    Prefect's threads for logs and events are told to end with it: they would go on calling a server that is gone, and
    flows that report to the next server would wait for them for ever.
    """
    with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_API_URL: prefect_api_url}):
        patch.setenv("PREFECT_API_URL", prefect_api_url)
        yield
        APILogWorker.drain_all()
        EventsWorker.drain_all()


@pytest.fixture(scope="session")
def client(servers: Settings) -> Iterator[hazelcast.HazelcastClient]:
    """A Hazelcast client for looking at what the code under test did."""
    connected = connect(servers.hazelcast)
    yield connected
    connected.shutdown()


@pytest.fixture
def settings(
    servers: Settings, client: hazelcast.HazelcastClient, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """The servers with topics and a consumer group of the test's own, and maps that are empty.

    The same settings are in the environment, so that child processes and `get_settings()` have them.
    """
    own = uuid.uuid4().hex[:8]
    names = {field: f"{name}-{own}" for field, name in Topics().model_dump().items()}
    fresh = servers.model_copy(deep=True)
    fresh.kafka.topics = Topics(**names)
    fresh.scoring.group_id = f"scorer-{own}"
    empty(client)
    ensure_topics(fresh.kafka)
    for name, value in environment(fresh).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield fresh
    get_settings.cache_clear()
    delete_topics(fresh.kafka, topic_names(fresh.kafka))
    empty(client)


def empty(client: hazelcast.HazelcastClient) -> None:
    """Stop every SQL job and empty every map of the cluster."""
    for row in list(client.sql.execute("SHOW JOBS").result()):
        client.sql.execute(f'DROP JOB IF EXISTS "{row.get_object_with_index(0)}"').result().close()
    for proxy in client.get_distributed_objects():
        if proxy.service_name == "hz:impl:mapService" and not proxy.name.startswith("__"):
            client.get_map(proxy.name).clear().result()


def environment(settings: Settings) -> dict[str, str]:
    """Environment variables that make `Settings()` equal to these settings where they differ from the defaults."""
    return {f"FRAUDFLOW_{name.upper()}": value for name, value in _differing(settings, Settings.model_construct())}


def _differing(model: BaseModel, default: BaseModel) -> Iterator[tuple[str, str]]:
    for name in type(model).model_fields:
        value, usual = getattr(model, name), getattr(default, name)
        if value == usual or value is None:
            continue
        if isinstance(value, BaseModel):
            for inner, text in _differing(value, usual):
                yield f"{name}__{inner}", text
        elif isinstance(value, SecretStr):
            yield name, value.get_secret_value()
        else:
            yield name, json.dumps(value) if isinstance(value, list) else str(value)
