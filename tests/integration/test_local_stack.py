"""The local stack with real servers: up, up again, killed in every way, and down to the last process."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer

from infra.errors import TerminalError, TransientError
from infra.hazelcast import connect
from infra.kafka import client_config, ensure_topics, last_records
from infra.local import ports, processes, stack
from infra.local.registry import HAZELCAST, KAFKA, PREFECT, Registry
from infra.local.rest import PrefectApi
from infra.local.status import status_of
from infra.settings import Settings
from tests.conftest import PROJECT, running
from tests.servers import local
from tests.waiting import until

pytestmark = pytest.mark.server

SERVERS = {KAFKA, HAZELCAST}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack that these tests may hurt, started in a shell with other people's Java settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HZ_CLUSTERNAME", "elsewhere")
        patch.setenv("HZ_NETWORK_INTERFACES_ENABLED", "false")
        patch.setenv("JDK_JAVA_OPTIONS", "-Xmx1m")
        home = tmp_path_factory.mktemp("own")
        with running(home, SERVERS, local=local(home, hazelcast_niceness=2)) as settings:
            yield settings


def pids(settings: Settings) -> dict[str, int]:
    """The processes that run, by the name of their service."""
    return {s.name: s.pid for s in status_of(settings) if s.state == "running" and s.pid}


def home(settings: Settings) -> Path:
    return stack.home_of(settings)


def fresh(tmp_path: Path, **changes: object) -> Settings:
    return Settings(local=local(tmp_path, **changes))


def kill(pid: int) -> None:
    process = psutil.Process(pid)
    process.kill()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def test_up_twice_changes_nothing(own: Settings) -> None:
    before = pids(own)
    assert set(before) == {KAFKA, "hazelcast-1"}
    said: list[str] = []
    stack.up(own, services=SERVERS, progress=said.append)
    assert pids(own) == before
    assert len([line for line in said if " is up at " in line]) == 2


def test_everything_listens_on_127_0_0_1_only(own: Settings) -> None:
    listening: dict[int, set[str]] = {}
    for process in processes.marked(home(own)):
        for connection in process.net_connections("inet"):
            # A socket without a peer waits for anyone: a TCP server, or any UDP socket.
            if not connection.raddr and (connection.status == psutil.CONN_LISTEN or connection.type == 2):
                listening.setdefault(process.pid, set()).add(connection.laddr.ip.removeprefix("::ffff:"))
    assert set(listening) == set(pids(own).values())
    assert set().union(*listening.values()) == {"127.0.0.1"}


def test_java_servers_have_the_settings_options_and_none_of_our_variables(own: Settings) -> None:
    assert own.local.java_options
    behind = {name: psutil.Process(pid).nice() - psutil.Process().nice() for name, pid in pids(own).items()}
    assert behind == {KAFKA: 0, "hazelcast-1": own.local.hazelcast_niceness}
    for pid in pids(own).values():
        assert own.local.java_options in psutil.Process(pid).cmdline()
        assert not [name for name in psutil.Process(pid).environ() if name.startswith(("HZ_", "JDK_"))]


def test_kafka_comes_back_where_it_was_with_what_it_had(own: Settings) -> None:
    ensure_topics(own.kafka)
    producer = Producer(client_config(own.kafka))
    producer.produce("Labels", value=b"before", partition=0)
    assert producer.flush(20) == 0
    kill(pids(own)[KAFKA])
    (state,) = [s for s in status_of(own) if s.name == KAFKA]
    assert state.state == "dead"
    assert state.detail.endswith("kafka.log")
    stack.up(own, services={KAFKA})
    assert stack.with_addresses(fresh(home(own))).kafka.bootstrap_servers == own.kafka.bootstrap_servers
    assert until(lambda: [m.value() for m in last_records(own.kafka, "Labels")], what="the record") == [b"before"]


def test_two_members_are_one_cluster_and_outlive_one(own: Settings) -> None:
    first = pids(own)["hazelcast-1"]
    stack.up(own, members=2, services={HAZELCAST})
    both = pids(own)
    assert both["hazelcast-1"] == first
    client = connect(stack.with_addresses(fresh(home(own))).hazelcast)
    try:
        assert len(client.cluster_service.get_members()) == 2
        data = client.get_map("outlives").blocking()
        data.put_all({n: str(n) for n in range(2_000)})

        kill(first)
        assert data.size() == 2_000
        # One member is asked for: the dead first one must join the second, which has the data.
        stack.up(own, services={HAZELCAST})
        after = pids(own)
        assert after["hazelcast-2"] == both["hazelcast-2"]
        assert after["hazelcast-1"] != first
        until(lambda: len(client.cluster_service.get_members()) == 2)
        assert data.size() == 2_000
    finally:
        client.shutdown()


def test_a_server_that_ends_at_its_start_is_quoted(tmp_path: Path) -> None:
    settings = fresh(tmp_path, hazelcast_heap="plenty")
    with pytest.raises(TerminalError) as caught:
        stack.up(settings, services={HAZELCAST})
    assert "hazelcast-1 ended while it started" in str(caught.value)
    assert "Invalid maximum heap size: -Xmxplenty" in str(caught.value)
    assert [s.state for s in status_of(settings) if s.name == "hazelcast-1"] == ["dead"]
    stack.down(settings)
    assert processes.marked(tmp_path) == []


@pytest.mark.parametrize("service", [KAFKA, HAZELCAST, PREFECT])
def test_a_taken_port_names_its_holder_and_the_setting(tmp_path: Path, service: str) -> None:
    with socket.create_server((ports.HOST, 0)) as server:
        port = server.getsockname()[1]
        settings = fresh(tmp_path, **{f"{service}_port": port})
        with pytest.raises(TerminalError) as caught:
            stack.up(settings, services={service})
    assert f"port {port} is taken" in str(caught.value)
    assert f"pid {os.getpid()}" in str(caught.value)
    assert f"FRAUDFLOW_LOCAL__{service.upper()}_PORT" in str(caught.value)
    assert processes.marked(tmp_path) == []


def test_down_ends_what_a_killed_up_and_killed_servers_left(tmp_path: Path) -> None:
    settings = fresh(tmp_path)
    code = (
        "from pathlib import Path; from infra.local import stack; from infra.settings import Settings; "
        "from tests.servers import local; "
        f"stack.up(Settings(local=local(Path({str(tmp_path)!r}))), services={{'kafka', 'hazelcast'}})"
    )
    up = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT)
    until(lambda: {p.name for p in Registry(tmp_path).all()} == {KAFKA, "hazelcast-1"})
    up.kill()
    up.wait()
    assert len(processes.marked(tmp_path)) == 2
    kafka = Registry(tmp_path).alive(KAFKA)
    assert kafka is not None
    kill(kafka.pid)
    # Nor does it need the record.
    (tmp_path / "stack.json").unlink()
    stack.down(settings)
    assert processes.marked(tmp_path) == []
    assert {s.state for s in status_of(settings)} == {"stopped"}


def test_down_leaves_no_process_where_prefect_errs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def errs(_: object) -> None:
        raise TransientError("Prefect: POST /flow_runs/7/set_state: 500")

    settings, told = fresh(tmp_path), []
    with running(tmp_path, {PREFECT}):
        monkeypatch.setattr(stack.runs, "end_all", errs)
        stack.down(settings, progress=told.append)
        assert {s.state for s in status_of(settings)} == {"stopped"}
    assert "Prefect: POST /flow_runs/7/set_state: 500: going on without it" in told


def test_a_test_run_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tests.conftest import running\n"
        f"with running(Path({str(tmp_path)!r}), {{'hazelcast'}}): raise SystemExit('not killed')"
    )
    run = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, start_new_session=True)
    until(lambda: Registry(tmp_path).alive("hazelcast-1") is not None)
    # The whole group, as Ctrl-C and `timeout` do it.
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    until(lambda: processes.marked(tmp_path) == [])
    until(lambda: Registry(tmp_path).all() == [])


@pytest.fixture
def api(prefect: str) -> PrefectApi:
    return PrefectApi(prefect)


def test_a_schedule_makes_runs(api: PrefectApi) -> None:
    """Prefect's server can be healthy and run what it is told to, and yet schedule nothing, for ever."""
    flow = api.post("/flows/", {"name": "nightly"})
    schedule = {"schedule": {"cron": "0 3 * * *", "timezone": "UTC"}, "active": True}
    api.post("/deployments/", {"name": "local", "flow_id": flow["id"], "schedules": [schedule]})

    def scheduled() -> list[dict]:
        return api.post("/flow_runs/filter", {"flows": {"name": {"any_": ["nightly"]}}})

    until(scheduled, what="a scheduled run")
    assert {run["state"]["type"] for run in scheduled()} == {"SCHEDULED"}
    assert {run["expected_start_time"][11:16] for run in scheduled()} == {"03:00"}


def test_pages_of_other_sites_cannot_call_prefect(api: PrefectApi) -> None:
    own_page = api.url.removesuffix("/api")
    assert allowed_origin(api, own_page) == own_page
    assert allowed_origin(api, "https://example.org") is None


def allowed_origin(api: PrefectApi, origin: str) -> str | None:
    """What the server answers a browser that asks whether a page of that site may send it JSON."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    request = urllib.request.Request(f"{api.url}/deployments/", method="OPTIONS", headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own server
            return answer.headers.get("Access-Control-Allow-Origin")
    except urllib.error.HTTPError as refused:
        return refused.headers.get("Access-Control-Allow-Origin")
