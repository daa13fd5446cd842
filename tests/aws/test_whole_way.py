"""The whole way by the flows, on a real Prefect server: up, again, scaled, down; and taken up again after a failure."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from confluent_kafka import Producer
from prefect.client.orchestration import get_client
from prefect.schedules import Cron

from flows.expire_ecs import expire_ecs
from flows.provision_ecs import provision_ecs
from flows.scale_ecs import scale_ecs
from flows.teardown_ecs import teardown_ecs
from infra.aws import plan
from infra.aws.stack import Stack
from infra.errors import TerminalError
from infra.kafka import client_config
from infra.settings import Settings, get_settings
from tasks import aws as tasks
from tests.aws.conftest import SECRET_WORDS, Calls, Ids, settings_for
from tests.conftest import environment, reporting_to

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What boto3 cannot cure, a minute of waiting will not cure here."""
    for task in (tasks.provide, tasks.remove):
        monkeypatch.setattr(task, "retry_delay_seconds", [0.1])


def _whats_there(stack: Stack) -> dict[str, int]:
    """What exists, counted by asking each service itself, and not by the code under test."""
    ec2, ecs = stack.api("ec2"), stack.api("ecs")
    vpcs = [v["VpcId"] for v in ec2.describe_vpcs()["Vpcs"] if not v["IsDefault"]]
    inside = [{"Name": "vpc-id", "Values": vpcs or ["none"]}]
    clusters = ecs.describe_clusters(clusters=ecs.list_clusters()["clusterArns"] or ["none"])["clusters"]
    services = [
        service
        for cluster in clusters
        for service in ecs.describe_services(
            cluster=cluster["clusterArn"],
            services=ecs.list_services(cluster=cluster["clusterArn"])["serviceArns"] or ["none"],
        )["services"]
    ]
    balancers = stack.api("elbv2").describe_load_balancers()["LoadBalancers"]
    namespaces = stack.api("servicediscovery").list_namespaces()["Namespaces"]
    return {
        "vpc": len(vpcs),
        "internet gateway": len(
            [g for g in ec2.describe_internet_gateways()["InternetGateways"] if g["Attachments"] or g["Tags"]]
        ),
        "subnet": len(ec2.describe_subnets(Filters=inside)["Subnets"]),
        "elastic ip": len(ec2.describe_addresses()["Addresses"]),
        "nat gateway": len([n for n in ec2.describe_nat_gateways()["NatGateways"] if n["State"] != "deleted"]),
        "route table": len([t for t in ec2.describe_route_tables(Filters=inside)["RouteTables"] if t["Tags"]]),
        "s3 endpoint": len([e for e in ec2.describe_vpc_endpoints()["VpcEndpoints"] if e["State"] != "deleted"]),
        "security group": len(
            [g for g in ec2.describe_security_groups(Filters=inside)["SecurityGroups"] if g["GroupName"] != "default"]
        ),
        "iam role": len(stack.api("iam").list_roles()["Roles"]),
        "log group": len(stack.api("logs").describe_log_groups()["logGroups"]),
        "bucket": len(stack.api("s3").list_buckets()["Buckets"]),
        "image repository": len(stack.api("ecr").describe_repositories()["repositories"]),
        "target group": len(stack.api("elbv2").describe_target_groups()["TargetGroups"]),
        "load balancer": len(balancers),
        "listener": sum(
            len(stack.api("elbv2").describe_listeners(LoadBalancerArn=b["LoadBalancerArn"])["Listeners"])
            for b in balancers
        ),
        "secret": len(stack.api("secretsmanager").list_secrets(IncludePlannedDeletion=True)["SecretList"]),
        "dns namespace": len(namespaces),
        "dns service": len(stack.api("servicediscovery").list_services()["Services"]),
        "ecs cluster": len([c for c in clusters if c["status"] == "ACTIVE"]),
        "event rule": len(stack.api("events").list_rules()["Rules"]),
        "queue": len(stack.api("sqs").list_queues().get("QueueUrls", [])),
        "task definition": len(ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"]),
        "ecs service": len([s for s in services if s["status"] == "ACTIVE"]),
        "budget": len(stack.api("budgets").describe_budgets(AccountId=stack.account).get("Budgets", [])),
    }


def _planned(stack: Stack) -> dict[str, int]:
    names = [step.kind for step in plan.steps(stack)]
    return {name: names.count(name) for name in dict.fromkeys(names) if name != "security rules"}


def _tasks_of(stack: Stack, service: str) -> int:
    ecs = stack.api("ecs")
    return ecs.describe_services(cluster="fraudflow-dev", services=[service])["services"][0]["runningCount"]


def _expiry_is_armed() -> bool:
    with get_client(sync_client=True) as client:
        return client.read_deployment_by_name("expire/ecs").schedules[0].active


def _pools() -> set[str]:
    with get_client(sync_client=True) as client:
        return {pool.name for pool in client.read_work_pools()}


@pytest.fixture
def prefect_with_expiry(prefect: str) -> Iterator[None]:
    """A real Prefect server with the one deployment that provisioning needs there, and no worker."""
    with reporting_to(prefect):
        expire_ecs.to_deployment("ecs", schedule=Cron("*/30 * * * *", active=False)).apply()
        yield


@pytest.mark.usefixtures("prefect_with_expiry")
def test_up_again_scaled_and_down(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    assert set(_whats_there(stack).values()) == {0}

    result: dict[str, Any] = provision_ecs(topics=False)
    assert _whats_there(stack) == _planned(stack)
    assert result["tasks"] == {"members": 3, "scorers": 2, "dashboard": 1, "worker": 1}
    assert "ecs-dev" in _pools()
    assert _expiry_is_armed(), "what is forgotten is torn down"

    assert scale_ecs(scorers=5) == {"before": 2, "running": 5, "lag": None}
    assert _tasks_of(stack, "scorers") == 5

    aws.clear()
    again = provision_ecs(topics=False)
    assert (again["created"], again["changed"]) == ([], [])
    assert aws.writes() == []
    assert _tasks_of(stack, "scorers") == 5, "provisioning leaves alone what somebody scaled"

    removed = teardown_ecs()["removed"]
    assert set(_whats_there(stack).values()) == {0}
    assert len(removed) >= sum(_planned(stack).values())
    assert "ecs-dev" not in _pools()
    assert not _expiry_is_armed()


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_home")
def test_a_failure_half_way_is_told_and_taken_up_again(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    aws.fail("CreateCluster", "AccessDeniedException", "not authorized to perform ecs:CreateCluster")
    with pytest.raises(TerminalError) as told:
        provision_ecs(topics=False)
    message = str(told.value)
    for part in ("create ecs cluster", "permission for CreateCluster", "run provision/ecs again", "teardown/ecs"):
        assert part in message
    half = _whats_there(stack)
    assert half["ecs cluster"] == 0
    assert half["nat gateway"] == 1

    aws.heal()
    result = provision_ecs(topics=False)
    assert _whats_there(stack) == _planned(stack), "nothing is there twice"
    assert "ecs cluster/cluster" in result["created"]
    assert "vpc/main" not in result["created"]

    aws.fail("DeleteNatGateway", "DependencyViolation", "in use")
    with pytest.raises(TerminalError, match="nat gateway out") as left:
        teardown_ecs()
    assert "seen by ledger, tags, names" in str(left.value)
    there = _whats_there(stack)
    assert (there["nat gateway"], there["ecs service"], there["bucket"]) == (1, 0, 0)
    assert _expiry_is_armed(), "what is left still costs"

    aws.heal()
    teardown_ecs()
    assert set(_whats_there(stack).values()) == {0}
    assert teardown_ecs()["removed"] == [], "another teardown finds nothing"


@pytest.mark.usefixtures("prefect_home")
@pytest.mark.slow
def test_what_is_throttled_goes_on_by_itself(
    aws: Calls, ecs_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that is not there for every service yet, twice; then it is."""
    tries: list[str] = []

    def not_yet(name: str, params: dict[str, Any]) -> ClientError | None:
        if name != "CreateLogGroup" or len(tries) >= 2:
            return None
        tries.append(name)
        return ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, name)

    monkeypatch.setattr(aws, "_failure", not_yet)
    outcome = tasks.provide("log group", "scorers", {}, datetime.now(UTC).isoformat())
    assert outcome["did"] == "created"
    assert len(tries) == 2


@pytest.mark.usefixtures("prefect_home")
@pytest.mark.slow
def test_only_what_has_expired_is_torn_down(aws: Calls, ecs_settings: Settings) -> None:
    other = ecs_settings.model_copy(deep=True)
    other.aws.stack = "forgotten"
    now = datetime.now(UTC)
    Ids(Stack(other, now - timedelta(minutes=1)))["queue/task-events"]
    Ids(Stack(ecs_settings, now + timedelta(hours=1)))["queue/task-events"]
    assert expire_ecs() == {"expired": ["forgotten"], "alive": ["dev"]}
    urls = Stack.of(ecs_settings).api("sqs").list_queues()["QueueUrls"]
    assert [url.rpartition("/")[2] for url in urls] == ["fraudflow-dev-task-events"]


@pytest.mark.slow
def test_by_the_command_line_and_the_deployments(aws: Calls, prefect_home: Path) -> None:
    """As people do it: the price, the run of a deployment on the worker, its log lines, and what is left."""
    settings = settings_for(prefect_home)
    stack = Stack.of(settings)

    def fraudflow(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("fraudflow")), *arguments]
        environ = os.environ | environment(settings) | {"COLUMNS": "200"}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=200, check=False)

    dry = fraudflow("provision", "--target", "ecs", "--dry-run")
    assert "NAT gateway" in dry.stdout
    assert "USD per million transactions" in dry.stdout
    assert set(_whats_there(stack).values()) == {0}
    up = ("provision", "--target", "ecs", "--yes", "--no-topics")

    theirs = f"{stack.path}scorers"
    stack.api("logs").create_log_group(logGroupName=theirs)
    stopped = fraudflow(*up)
    assert stopped.returncode == 1
    for part in (theirs, "not touched", "run provision/ecs again", "teardown/ecs"):
        assert part in stopped.stderr
    half = _whats_there(stack)
    assert half["vpc"] == 1
    assert half["ecs cluster"] == 0

    stack.api("logs").delete_log_group(logGroupName=theirs)
    done = fraudflow(*up)
    assert done.returncode == 0, done.stderr
    assert "USD an hour" in done.stderr
    assert "DNS: `fraud.example.com` CNAME `" in done.stderr, "what is left to do for people to reach the dashboard"
    assert not any(word in done.stderr + done.stdout for word in SECRET_WORDS)
    assert _whats_there(stack) == _planned(stack)

    scaled = fraudflow("scale", "4")
    assert scaled.returncode == 0, scaled.stderr
    assert _tasks_of(stack, "scorers") == 4

    again = fraudflow(*up)
    assert again.returncode == 0, again.stderr
    assert "created" not in again.stderr
    assert _whats_there(stack) == _planned(stack)
    assert _tasks_of(stack, "scorers") == 4
    gone = fraudflow("teardown", "--target", "ecs")
    assert gone.returncode == 0, gone.stderr
    assert "nothing is left on AWS" in gone.stdout
    assert set(_whats_there(stack).values()) == {0}


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_home")
def test_the_lag_decides_how_many_scorers_there_are(
    aws: Calls, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real Kafka: nobody scores, so every record is lag."""
    own = settings_for(tmp_path / "home", transactions_per_second=1, scorers=1, max_scorers=3)
    Ids(Stack.of(own))["ecs service/scorers"]
    own.kafka = settings.kafka
    for name, value in environment(own).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    assert scale_ecs(within_seconds=10) == {"before": 1, "running": 1, "lag": 0}
    producer = Producer(client_config(settings.kafka))
    for number in range(100):
        producer.produce(settings.kafka.topics.transactions, b"{}", key=str(number))
    assert producer.flush(30) == 0
    assert scale_ecs(within_seconds=10) == {"before": 1, "running": 3, "lag": 100}
    assert _tasks_of(Stack.of(own), "scorers") == 3
