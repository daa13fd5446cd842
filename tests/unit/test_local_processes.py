"""Processes of the stack: known again by pid and moment of creation, and gone when they are stopped."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from infra.errors import TerminalError
from infra.local import dashboard_server, java, processes
from infra.local.registry import KAFKA, Registry
from infra.settings import DashboardSettings, LocalSettings, Settings
from tests.servers import local
from tests.waiting import until

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


def test_a_process_is_known_by_its_pid_and_the_moment_of_its_creation(tmp_path: Path) -> None:
    started = processes.spawn("sleeper", SLEEPER, home=tmp_path)
    until(lambda: "up" in processes.tail(Path(started.log)), what="the process at work: before, it has no environment")
    found = processes.find(started, tmp_path)
    assert found is not None
    assert found.pid == started.pid
    # The same pid in another life, and in another stack.
    assert processes.find(replace(started, created=started.created - 60), tmp_path) is None
    assert processes.find(started, tmp_path / "other") is None
    processes.stop([found], grace_seconds=5)
    assert processes.find(started, tmp_path) is None
    assert not psutil.pid_exists(started.pid)


def test_who_comes_second_does_so_beside_whatever_was_started_here(tmp_path: Path) -> None:
    started = processes.spawn("sleeper", SLEEPER, home=tmp_path, niceness=5)
    until(lambda: "up" in processes.tail(Path(started.log)))
    assert psutil.Process(started.pid).nice() == 5
    assert os.getsid(started.pid) == os.getsid(0), "niceness counts within a session only"
    assert os.getpgid(started.pid) != os.getpgid(0), "Ctrl-C would end it"
    processes.stop(processes.marked(tmp_path), grace_seconds=5)


def test_a_server_outlives_the_terminal_that_it_was_started_from(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from infra.local import processes\n"
        f"started = processes.spawn('sleeper', {SLEEPER!r}, home=Path({str(tmp_path)!r}))\n"
        "print(started.pid, flush=True); input()"
    )
    shell, terminal = pty.fork()
    if not shell:
        os.execv(sys.executable, [sys.executable, "-c", code])  # noqa: S606
    pid = int(os.read(terminal, 100))
    os.close(terminal)
    os.waitpid(shell, 0)
    (server,) = processes.marked(tmp_path)
    assert server.pid == pid
    processes.stop([server], grace_seconds=5)


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux alone has it")
def test_who_gives_way_does_so_with_all_that_it_starts() -> None:
    code = (
        "import os; from concurrent.futures import ThreadPoolExecutor\n"
        "from infra.priority import give_way\n"
        "def policy(): return os.sched_getscheduler(0)\n"
        "before, after = ThreadPoolExecutor(1), ThreadPoolExecutor(1)\n"
        "before.submit(policy).result(); give_way()\n"
        "print(policy(), before.submit(policy).result(), after.submit(policy).result())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(os.SCHED_IDLE)] * 3


def test_a_process_is_found_from_its_first_moment_on(tmp_path: Path) -> None:
    for _ in range(100):
        started = processes.spawn("sleep", ["sleep", "600"], home=tmp_path)
        assert processes.find(started, tmp_path) is not None
    processes.stop(processes.marked(tmp_path), grace_seconds=5)


def test_a_process_that_died_and_was_not_reaped_is_gone(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import json, sys, time\n"
            "from dataclasses import asdict\n"
            "from pathlib import Path\n"
            "from infra.local import processes\n"
            f"started = processes.spawn('s', {SLEEPER!r}, home=Path({str(tmp_path)!r}))\n"
            "print(json.dumps(asdict(started)), flush=True)\n"
            "sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        started = processes.Started(**json.loads(parent.stdout.readline()))
        zombie = psutil.Process(started.pid)
        os.kill(started.pid, signal.SIGKILL)
        until(lambda: zombie.status() == psutil.STATUS_ZOMBIE)
        assert processes.find(started, tmp_path) is None
        # Its parent never looks: whoever stops it must not wait for that.
        processes.stop([zombie], grace_seconds=0)
        parent.communicate("", timeout=10)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    started = processes.spawn("deaf", DEAF, home=tmp_path)
    until(lambda: "up" in processes.tail(Path(started.log)))
    found = processes.find(started, tmp_path)
    assert found is not None
    processes.stop([found], grace_seconds=0.2)
    assert not psutil.pid_exists(started.pid)


def test_what_a_process_started_is_found_without_any_record(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import subprocess; subprocess.Popen({SLEEPER!r}).wait()"]
    started = processes.spawn("parent", command, home=tmp_path)
    until(lambda: len(processes.marked(tmp_path)) == 2)
    os.kill(started.pid, signal.SIGKILL)
    until(lambda: processes.find(started, tmp_path) is None)
    left = processes.marked(tmp_path)
    assert len(left) == 1
    processes.stop(left, grace_seconds=5)
    assert processes.marked(tmp_path) == []


def test_a_server_that_ends_at_its_start_is_quoted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('line 1'); raise SystemExit('port 1 is not mine')"]
    started = processes.spawn("server", command, home=tmp_path)
    with pytest.raises(TerminalError, match="server ended while it started") as caught:
        processes.wait_until(lambda: False, started, home=tmp_path, seconds=20, stopping=threading.Event())
    assert "port 1 is not mine" in str(caught.value)
    assert started.log in str(caught.value)


def test_a_short_command_is_marked_as_well(tmp_path: Path) -> None:
    done = processes.run(
        [sys.executable, "-c", f"import os; print(os.environ[{processes.MARKER!r}])"],
        home=tmp_path,
        env=java.environment(),
        seconds=20,
    )
    assert done.stdout.strip() == str(tmp_path)


def test_java_servers_get_neither_our_secrets_nor_other_peoples_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FRAUDFLOW_KAFKA__SASL_PASSWORD", "HZ_NETWORK_PORT_PORT", "JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS"):
        monkeypatch.setenv(name, "x")
    assert "x" not in java.environment().values()
    assert java.environment()["PATH"] == os.environ["PATH"]


def test_the_record_survives_whoever_wrote_it(tmp_path: Path) -> None:
    started = processes.spawn("kafka", SLEEPER, home=tmp_path, address="127.0.0.1:1")
    first = Registry(tmp_path)
    first.add(started)
    first.publish(kafka={"bootstrap_servers": "127.0.0.1:1"})
    second = Registry(tmp_path)
    assert second.alive(KAFKA) == started
    assert second.settings == {"kafka": {"bootstrap_servers": "127.0.0.1:1"}}
    processes.stop(processes.marked(tmp_path), grace_seconds=5)
    assert Registry(tmp_path).alive(KAFKA) is None
    assert Registry(tmp_path).started(KAFKA) == started


def test_a_record_cut_short_says_as_much_as_none(tmp_path: Path) -> None:
    Registry(tmp_path).publish(kafka={"bootstrap_servers": "127.0.0.1:1"})
    path = tmp_path / "stack.json"
    path.write_text(path.read_text()[:20])
    assert Registry(tmp_path).all() == []
    assert Settings(local=LocalSettings(home=tmp_path)).kafka.bootstrap_servers is None


def test_what_the_settings_have_from_the_record_is_our_own(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.publish(kafka={"bootstrap_servers": "127.0.0.1:1"}, hazelcast={"members": ["127.0.0.1:2"]})
    settings = Settings(local=LocalSettings(home=tmp_path))
    assert settings.kafka.bootstrap_servers == "127.0.0.1:1"
    assert registry.named(settings) == set()
    settings.kafka.bootstrap_servers = "broker.example.org:9092"
    assert registry.named(settings) == {KAFKA}


@pytest.mark.parametrize(
    ("interface", "address"),
    [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("192.0.2.7", "192.0.2.7"), ("::1", "[::1]"), ("here", "here")],  # noqa: S104
)
def test_a_dashboard_is_asked_where_it_listens(
    interface: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dashboard_server, "spawn", lambda *_, address, **__: address)
    settings = Settings(local=local(tmp_path), dashboard=DashboardSettings(address=interface))
    assert str(dashboard_server.start(settings, tmp_path, previous=None)).rpartition(":")[0] == address
