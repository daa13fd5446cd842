"""What stands in files and not in requests: how a member is closed, what its image has, how AWS is asked."""

import json
import re
from pathlib import Path

import yaml

from infra.aws import client, containers
from infra.aws.access import member_statements
from infra.aws.containers import FLOWS, MEMBERS, task_definition
from infra.aws.stack import Stack
from infra.local import jars
from tests.aws.conftest import REGION, settings_for
from tests.conftest import PROJECT


def test_a_member_has_no_way_in_but_its_port() -> None:
    """Community Hazelcast asks for no login: whoever can open the port can run code, so all else is off."""
    config = yaml.safe_load((PROJECT / "infra/aws/hazelcast.yaml").read_text())["hazelcast"]
    network = config["network"]
    assert network["port"]["auto-increment"] is False
    assert not network["join"]["auto-detection"]["enabled"]
    assert not network["join"]["multicast"]["enabled"]
    assert network["join"]["aws"]["use-public-ip"] is False
    assert network["interfaces"] == {"enabled": True, "interfaces": ["${fraudflow.interface}"]}
    assert not network["rest-api"]["enabled"]
    assert not network["memcache-protocol"]["enabled"]
    assert config["properties"]["hazelcast.socket.bind.any"] is False
    assert config["properties"]["hazelcast.phone.home.enabled"] is False
    assert config["jet"]["resource-upload-enabled"] is False
    assert set(config["management-center"].values()) == {False}
    assert config["serialization"]["java-serialization-filter"]["defaults-disabled"] is True
    assert network["join"]["aws"]["hz-port"] == "${fraudflow.port}", "one port, and no range"


def test_a_members_image_has_no_connector_that_reads_files_or_calls_machines() -> None:
    """Each further jet connector is SQL that anyone who reaches the port can use."""
    connectors = {jar.artifact for jar in jars.locked("hazelcast") if "hazelcast" in jar.group}
    assert connectors == {"hazelcast", "hazelcast-sql", "hazelcast-jet-kafka"}


def test_a_member_knows_no_secret_and_may_look_at_its_own_tasks_alone(tmp_path: Path) -> None:
    stack = Stack.of(settings_for(tmp_path))
    (member,) = task_definition(stack, MEMBERS, "image@sha256:0", {}, "10.20.*.*")["containerDefinitions"]
    assert (member["environment"], member["secrets"]) == ([], [])
    assert not re.search("word|example.com", json.dumps(member)), "nor Kafka's address"
    actions = {action for statement in member_statements(stack) for action in statement["Action"]}
    assert actions == {"ecs:ListTasks", "ecs:DescribeTasks"}


def test_aws_is_asked_again_by_its_own_rules() -> None:
    config = client.api("ecs", REGION).meta.config
    assert config.retries["mode"] == "standard"
    assert config.connect_timeout < 10


def test_results_of_flows_are_no_pickles(tmp_path: Path) -> None:
    stack = Stack.of(settings_for(tmp_path))
    assert containers.environment(stack, FLOWS)["PREFECT_RESULTS_DEFAULT_SERIALIZER"] == "json"


def test_no_flow_takes_a_secret_or_a_card_as_a_parameter() -> None:
    """Prefect stores parameters and shows them."""
    for file in ("prefect.yaml", "prefect-ecs.yaml"):
        for deployment in yaml.safe_load((PROJECT / file).read_text())["deployments"]:
            path, _, name = deployment["entrypoint"].partition(":")
            signature = re.search(rf"^def {name}\((.*?)\)", (PROJECT / path).read_text(), re.MULTILINE | re.DOTALL)
            assert signature, name
            assert not re.search(r"password|secret|token|api_key|cc_num|card", signature[1]), name


def test_files_with_secrets_go_neither_into_git_nor_into_the_image() -> None:
    for file, names in ((".gitignore", {".env", "secrets.toml"}), (".dockerignore", {"**/.env", "**/secrets.toml"})):
        assert names <= set((PROJECT / file).read_text().splitlines()), file
