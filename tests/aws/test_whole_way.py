"""The whole way by the flows, on a real Prefect server: up, again, scaled, down; and taken up again after a failure."""

import os
import re
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
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.schedules import Cron

from flows.expire_ecs import expire_ecs
from flows.provision_ecs import provision_ecs
from flows.scale_ecs import scale_ecs
from flows.teardown_ecs import teardown_ecs
from flows.watch_ecs import watch_ecs
from infra.aws import plan
from infra.aws.stack import Stack
from infra.errors import TerminalError
from infra.kafka import client_config, delete_topics, partitions, topic_names
from infra.settings import Settings, Topics, get_settings
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
        "task": len([arn for cluster in clusters for arn in ecs.list_tasks(cluster=cluster["clusterArn"])["taskArns"]]),
        "network interface": len(ec2.describe_network_interfaces(Filters=inside)["NetworkInterfaces"]),
        "budget": len(stack.api("budgets").describe_budgets(AccountId=stack.account).get("Budgets", [])),
    }


def _details(stack: Stack) -> list[Any]:
    """How some of it is, as each service tells it: a second provisioning must not have touched that."""
    ecs, ec2, iam = stack.api("ecs"), stack.api("ec2"), stack.api("iam")
    described = ecs.describe_services(
        cluster=stack.prefix, services=ecs.list_services(cluster=stack.prefix)["serviceArns"]
    )["services"]
    roles = [role["RoleName"] for role in iam.list_roles()["Roles"]]
    return [
        sorted((s["serviceName"], s["taskDefinition"], s["desiredCount"]) for s in described),
        sorted(ecs.list_task_definitions()["taskDefinitionArns"]),
        sorted(rule["SecurityGroupRuleId"] for rule in ec2.describe_security_group_rules()["SecurityGroupRules"]),
        {role: iam.list_role_policies(RoleName=role)["PolicyNames"] for role in roles},
    ]


# What simulated AWS goes on listing after it is deleted; the service itself is asked whether it is there.
_TOMBSTONES = (":ecs:", ":natgateway/")


def _tagged(stack: Stack) -> list[str]:
    """Everything with the stack's tag, by AWS's own list of tags."""
    pages = stack.api("resourcegroupstaggingapi").get_paginator("get_resources")
    tag = {"Key": "fraudflow:stack", "Values": [stack.name]}
    arns = [r["ResourceARN"] for page in pages.paginate(TagFilters=[tag]) for r in page["ResourceTagMappingList"]]
    return [arn for arn in arns if not any(tombstone in arn for tombstone in _TOMBSTONES)]


def _planned(stack: Stack) -> dict[str, int]:
    names = [step.kind for step in plan.steps(stack)]
    # Tasks are Prefect's to start, and simulated AWS starts none for a service; a NAT gateway has an interface.
    besides = {"task": 0, "network interface": names.count("nat gateway")}
    return besides | {name: names.count(name) for name in dict.fromkeys(names) if name != "security rules"}


def _tasks_of(stack: Stack, service: str) -> int:
    ecs = stack.api("ecs")
    return ecs.describe_services(cluster="fraudflow-dev", services=[service])["services"][0]["runningCount"]


def _armed() -> set[str]:
    """The deployments whose schedules are on."""
    with get_client(sync_client=True) as client:
        names = ("expire/ecs", "watch/ecs")
        return {name for name in names if client.read_deployment_by_name(name).schedules[0].active}


def _artifact(key: str) -> str:
    """The newest of those that people see in the UI."""
    with get_client(sync_client=True) as client:
        chosen = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        (newest,) = client.read_artifacts(artifact_filter=chosen, sort=ArtifactSort.CREATED_DESC, limit=1)
    return str(newest.data)


def _pools() -> set[str]:
    with get_client(sync_client=True) as client:
        return {pool.name for pool in client.read_work_pools()}


@pytest.fixture
def prefect_with_schedules(prefect: str) -> Iterator[None]:
    """A real Prefect server with the deployments that provisioning needs there, and no worker."""
    with reporting_to(prefect):
        for flow in (expire_ecs, watch_ecs):
            flow.to_deployment("ecs", schedule=Cron("*/30 * * * *", active=False)).apply()
        yield


@pytest.mark.usefixtures("prefect_with_schedules")
def test_up_again_scaled_and_down(aws: Calls, ecs_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack.of(ecs_settings)
    assert set(_whats_there(stack).values()) == {0}

    result: dict[str, Any] = provision_ecs(topics=False)
    assert _whats_there(stack) == _planned(stack)
    assert result["tasks"] == {"members": 3, "scorers": 2, "dashboard": 1, "worker": 1}
    assert "ecs-dev" in _pools()
    assert _armed() == {"expire/ecs", "watch/ecs"}, "what is forgotten is torn down, and what dies is seen"
    assert "NAT gateway" in _artifact("ecs-cost")
    assert "| scorers | 2 |" in _artifact("provision-ecs")
    assert watch_ecs() == {"running": result["tasks"], "deaths": []}

    assert scale_ecs(scorers=5) == {"before": 2, "running": 5, "lag": None}
    assert _tasks_of(stack, "scorers") == 5

    aws.clear()
    again = provision_ecs(topics=False)
    assert (again["created"], again["changed"]) == ([], [])
    assert aws.writes() == []
    assert _tasks_of(stack, "scorers") == 5, "provisioning leaves alone what somebody scaled"

    monkeypatch.setenv("FRAUDFLOW_AWS__EXPIRES_AFTER_HOURS", "48")
    get_settings.cache_clear()
    ends = tasks.find_stacks()["dev"]
    provision_ecs(topics=False, put_off=True)
    put_off = datetime.fromisoformat(tasks.find_stacks()["dev"]) - datetime.fromisoformat(ends)
    assert put_off > timedelta(hours=35)

    removed = teardown_ecs()["removed"]
    assert "Nothing is left." in _artifact("teardown-ecs")
    assert set(_whats_there(stack).values()) == {0}
    assert _tagged(stack) == []
    assert len(removed) >= sum(_planned(stack).values())
    assert "ecs-dev" not in _pools()
    assert _armed() == set()


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
    assert _armed() == {"expire/ecs"}, "what is left still costs"

    aws.heal()
    teardown_ecs()
    assert set(_whats_there(stack).values()) == {0}
    assert _tagged(stack) == []
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
def test_by_the_command_lines_and_the_deployments(aws: Calls, prefect_home: Path) -> None:
    """As people do it: the price, the runs of the deployments on the worker, their log lines, and what is left."""
    settings = settings_for(prefect_home)
    stack = Stack.of(settings)
    environ = os.environ | environment(settings) | {"COLUMNS": "200"}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        tool = str(Path(sys.executable).with_name(command[0]))
        return subprocess.run(
            [tool, *command[1:]], env=environ, capture_output=True, text=True, timeout=200, check=False
        )

    dry = run("fraudflow", "provision", "--target", "ecs", "--dry-run")
    assert "NAT gateway" in dry.stdout
    assert "USD per million transactions" in dry.stdout
    assert set(_whats_there(stack).values()) == {0}
    up = ("fraudflow", "provision", "--target", "ecs", "--yes", "--no-topics")

    # What is in the way of a step half-way is made by somebody else.
    theirs = f"{stack.path}scorers"
    stack.api("logs").create_log_group(logGroupName=theirs)
    stopped = run(*up)
    assert stopped.returncode == 1
    for part in (theirs, "not touched", "run provision/ecs again", "teardown/ecs"):
        assert part in stopped.stderr
    half = _whats_there(stack)
    assert half["vpc"] == 1
    assert half["ecs cluster"] == 0

    stack.api("logs").delete_log_group(logGroupName=theirs)
    done = run(*up)
    assert done.returncode == 0, done.stderr
    assert "USD an hour" in done.stderr
    assert "ecs cluster cluster: created" in done.stderr
    assert "vpc main: created" not in done.stderr, "what was there is kept"
    assert "DNS: `fraud.example.com` CNAME `" in done.stderr, "what is left to do for people to reach the dashboard"
    assert not any(word in done.stderr + done.stdout for word in SECRET_WORDS)
    assert _whats_there(stack) == _planned(stack)

    scaled = run("fraudflow", "scale", "4")
    assert scaled.returncode == 0, scaled.stderr
    assert _tasks_of(stack, "scorers") == 4
    before = _details(stack)

    again = run(*up)
    assert again.returncode == 0, again.stderr
    assert not re.search("created|changed|removed", again.stderr)
    assert _details(stack) == before
    assert _tasks_of(stack, "scorers") == 4

    down = run("prefect", "deployment", "run", "teardown/ecs", "--watch")
    assert down.returncode == 0, down.stdout + down.stderr
    assert set(_whats_there(stack).values()) == {0}
    assert _tagged(stack) == []
    gone = run("fraudflow", "teardown", "--target", "ecs")
    assert gone.returncode == 0, gone.stderr
    assert "there was nothing of a stack dev in us-east-1, account 123456789012" in gone.stderr
    assert "nothing of it is left on AWS" in gone.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_home")
def test_topics_are_made_and_their_lag_decides_how_many_scorers_there_are(
    aws: Calls, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real Kafka: nobody scores, so every record is lag."""
    own = settings_for(
        tmp_path / "home", transactions_per_second=1, scorers=1, max_scorers=3, allow_insecure=True, dashboard_cidrs=[]
    )
    topics = Topics(**{field: f"{name}-ecs" for field, name in settings.kafka.topics.model_dump().items()})
    own.kafka = settings.kafka.model_copy(update={"topics": topics, "partitions": 5})
    for name, value in environment(own).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    provision_ecs()
    try:
        made = partitions(own.kafka)
        assert {name: made.get(name) for name in (topics.transactions, topics.predictions)} == {
            topics.transactions: 5,
            topics.predictions: 5,
        }
        assert scale_ecs(within_seconds=10) == {"before": 1, "running": 1, "lag": 0}
        producer = Producer(client_config(own.kafka))
        for number in range(100):
            producer.produce(topics.transactions, b"{}", key=str(number))
        assert producer.flush(30) == 0
        assert scale_ecs(within_seconds=10) == {"before": 1, "running": 3, "lag": 100}
        assert _tasks_of(Stack.of(own), "scorers") == 3
    finally:
        delete_topics(own.kafka, topic_names(own.kafka))
