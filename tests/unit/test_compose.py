"""compose.yaml is the local stack in containers: of the same versions, with the same settings, as closed."""

import re
import shlex
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml

from infra.aws.containers import DASHBOARD, HEARTBEAT_FILE, SCORERS, command
from infra.aws.stack import Stack
from infra.local import jars, kafka_server
from infra.settings import ProjectionSettings, Settings
from tests.conftest import PROJECT

COMPOSE = (PROJECT / "compose.yaml").read_text()
ALL: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
SERVICES = {name: service for name, service in ALL.items() if "build" not in service}
OURS = {name: service for name, service in ALL.items() if "build" in service}


def locked(server: str, artifact: str) -> str:
    """The version of an artifact that the lock file has."""
    (version,) = [jar.version for jar in jars.locked(server) if jar.artifact == artifact]
    return version


def test_the_versions_are_those_of_the_local_stack() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{locked('kafka', 'kafka_2.13')}"
    assert SERVICES["hazelcast"]["image"] == f"hazelcast/hazelcast:{locked('hazelcast', 'hazelcast')}"
    assert SERVICES["prefect"]["image"].startswith(f"prefecthq/prefect:{prefect.__version__}-")


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_published_on_127_0_0_1_and_looked_after(name: str) -> None:
    service = SERVICES[name]
    assert service["ports"]
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in service["ports"])
    assert service["healthcheck"]["test"][0] == "CMD"
    assert "no-new-privileges:true" in service["security_opt"]
    assert "network_mode" not in service


@pytest.mark.parametrize("name", OURS)
def test_what_is_ours_runs_from_the_image_and_locked_down_as_on_ecs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = OURS[name]
    assert service["build"] == {"context": ".", "target": "app"}
    assert service["profiles"] == ["app"], "only who asks for it: `fraudflow up` has scorers and a dashboard too"
    assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])  # noqa: S108
    assert "no-new-privileges:true" in service["security_opt"]
    assert "user" not in service, "the image's own, which is nobody"
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, value)
        assert f"#   {variable}={shlex.quote(value)}\n" in COMPOSE, "as its head says, for a shell"
    assert Settings().hazelcast.members == ["127.0.0.1:5701"]


def test_ours_are_started_as_ecs_starts_them() -> None:
    """But for what is measured there: the commands and the checks of health."""
    stack = Stack.of(Settings())
    for service, role in (("scorer", SCORERS), ("dashboard", DASHBOARD)):
        assert OURS[service]["command"] == command(stack, role, "")
    assert OURS["scorer"]["healthcheck"]["test"] == ["CMD", "python", "-m", "scoring.heartbeat", HEARTBEAT_FILE]


def test_hazelcast_has_the_local_configuration_with_every_value_given() -> None:
    service = SERVICES["hazelcast"]
    source, target, mode = service["volumes"][0].split(":")
    assert mode == "ro"
    assert f"-Dhazelcast.config={target}" in service["environment"]["JAVA_OPTS"].split()
    wanted = set(re.findall(r"\$\{(fraudflow[a-z.]+)\}", (PROJECT / source).read_text()))
    assert wanted
    given = dict(re.findall(r"-D(fraudflow[a-z.]+)=(\S+)", service["environment"]["JAVA_OPTS"]))
    assert set(given) == wanted
    kept = ProjectionSettings()
    assert given["fraudflow.projection.max.entries"] == str(kept.max_entries)
    assert given["fraudflow.projection.ttl"] == str(kept.ttl_seconds)


def test_kafka_is_configured_as_the_local_one_where_no_address_is_in_it() -> None:
    in_container = SERVICES["kafka"]["environment"]
    local = dict(line.split("=", 1) for line in kafka_server._PROPERTIES.splitlines() if line and line[0] != "#")
    addresses = {name for name in local if "listener" in name or "quorum" in name or name == "log.dirs"}
    for name in local.keys() - addresses:
        assert str(in_container[f"KAFKA_{name.upper().replace('.', '_')}"]) == local[name], name


def test_its_head_says_how_to_use_it() -> None:
    variables = set(re.findall(r"^#   (FRAUDFLOW_\w+)=", COMPOSE, flags=re.MULTILINE))
    assert variables == {
        "FRAUDFLOW_KAFKA__BOOTSTRAP_SERVERS",
        "FRAUDFLOW_HAZELCAST__MEMBERS",
        "FRAUDFLOW_HAZELCAST__KAFKA_BOOTSTRAP_SERVERS",
        "FRAUDFLOW_PREFECT_API_URL",
    }


def test_its_files_exist() -> None:
    for service in ALL.values():
        for volume in service.get("volumes", []):
            if volume.startswith("."):
                assert (PROJECT / Path(volume.split(":")[0])).is_file()
