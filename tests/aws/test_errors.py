"""What AWS refuses, and what people are told. boto3's Stubber answers in AWS's place: simulated AWS refuses little."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber
from pydantic import SecretStr, ValidationError

from flows.provision_ecs import refuse_loss
from infra.aws import client, cost, plan, preconditions, services
from infra.aws.kinds import kind
from infra.aws.ledger import Ledger
from infra.aws.network import interface_pattern
from infra.aws.resource import Resource
from infra.aws.settings import AwsSettings
from infra.aws.stack import Stack
from infra.errors import TerminalError, TransientError
from infra.settings import Settings
from infra.topic_differences import TopicDifference
from tests.aws.conftest import REGION


@pytest.fixture
def stack(ecs_settings: Settings) -> Stack:
    return Stack(ecs_settings, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def ecs() -> Iterator[Stubber]:
    with Stubber(client.api("ecs", REGION)) as stubber:
        yield stubber


@pytest.fixture
def ec2() -> Iterator[Stubber]:
    with Stubber(client.api("ec2", REGION)) as stubber:
        yield stubber


@pytest.mark.parametrize(
    ("code", "status", "error", "told"),
    [
        ("RequestLimitExceeded", 503, TransientError, "RequestLimitExceeded"),
        ("ThrottlingException", 400, TransientError, "create vpc main"),
        ("InternalError", 500, TransientError, "create vpc main"),
        ("VpcLimitExceeded", 400, TerminalError, "Service Quotas"),
        ("UnauthorizedOperation", 403, TerminalError, "permission for CreateVpc"),
        ("ExpiredToken", 400, TerminalError, "Log in to AWS again"),
        ("InvalidParameterValue", 400, TerminalError, "create vpc main"),
    ],
)
def test_a_refusal_is_told_with_what_to_do(
    stack: Stack, ec2: Stubber, code: str, status: int, error: type[Exception], told: str
) -> None:
    ec2.add_response("describe_vpcs", {"Vpcs": []})
    ec2.add_client_error("create_vpc", code, "as AWS says it", http_status_code=status)
    with pytest.raises(error, match=told):
        kind("vpc").ensure(stack, "main", {"cidr": "10.20.0.0/16"})


def test_what_is_still_in_use_is_tried_again(stack: Stack, ec2: Stubber) -> None:
    ec2.add_client_error("delete_security_group", "DependencyViolation", "has a dependent object", http_status_code=400)
    with pytest.raises(TransientError, match=r"security group scorers \(sg-1\)"):
        kind("security group").remove(stack, Resource("security group", "scorers", "sg-1"))


def test_a_role_that_is_not_there_yet_is_waited_for() -> None:
    refusal = {
        "Error": {"Code": "InvalidParameterException", "Message": "ECS was unable to assume the role"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }
    with pytest.raises(TransientError), client.explaining("create ecs service scorers"):
        raise ClientError(refusal, "CreateService")  # type: ignore[arg-type]


def test_aws_out_of_reach_is_tried_again() -> None:
    with pytest.raises(TransientError, match="out of reach"), client.explaining("look"):
        raise EndpointConnectionError(endpoint_url="https://ec2.us-east-1.amazonaws.com")


def test_another_account_is_refused(stack: Stack) -> None:
    stack.settings.aws.account_id = "999999999999"
    with pytest.raises(TerminalError, match="123456789012"):
        assert stack.account


def _service(running: int, **deployment: str) -> dict[str, Any]:
    return {
        "services": [
            {
                "serviceName": "scorers",
                "status": "ACTIVE",
                "runningCount": running,
                "desiredCount": 2,
                "deployments": [{"status": "PRIMARY", "rolloutState": "IN_PROGRESS"} | deployment],
                "events": [{"message": "(service scorers) was unable to place a task"}],
            }
        ]
    }


def _add_reasons(ecs: Stubber, service: dict[str, Any]) -> None:
    ecs.add_response("list_tasks", {"taskArns": ["arn:aws:ecs:us-east-1:123456789012:task/fraudflow-dev/1"]})
    stopped = {
        "stoppedReason": "Essential container in task exited",
        "containers": [{"name": "scorers", "exitCode": 64, "reason": "OutOfMemoryError"}],
    }
    ecs.add_response("describe_tasks", {"tasks": [stopped]})
    ecs.add_response("describe_services", service)


def test_a_task_that_never_becomes_healthy_is_told_with_its_reason(stack: Stack, ecs: Stubber) -> None:
    stack.settings.aws.healthy_timeout_seconds = 1e-9
    ecs.add_response("describe_services", _service(0))
    _add_reasons(ecs, _service(0))
    with pytest.raises(TerminalError) as told:
        services.wait_healthy(stack, ["scorers"])
    for part in ("exit code 64", "OutOfMemoryError", "unable to place a task", "/fraudflow/dev/scorers"):
        assert part in str(told.value)


def test_a_failed_rollout_is_told_at_once(stack: Stack, ecs: Stubber) -> None:
    failed = _service(2, rolloutState="FAILED")
    ecs.add_response("describe_services", failed)
    _add_reasons(ecs, failed)
    with pytest.raises(TerminalError, match="rollout failed"):
        services.wait_healthy(stack, ["scorers"])


def test_a_rollout_that_ecs_takes_back_is_told(stack: Stack, ecs: Stubber) -> None:
    """The definition before is the primary one again by then."""
    back = _service(2, rolloutState="COMPLETED")
    back["services"][0]["deployments"].append({"status": "ACTIVE", "rolloutState": "FAILED"})
    ecs.add_response("describe_services", back)
    _add_reasons(ecs, back)
    with pytest.raises(TerminalError, match="rollout failed"):
        services.wait_healthy(stack, ["scorers"])


def test_a_healthy_service_of_an_older_definition_is_told(stack: Stack, ecs: Stubber) -> None:
    arn = "arn:aws:ecs:us-east-1:123456789012:task-definition/fraudflow-dev-scorers:"
    service = _service(2, rolloutState="COMPLETED")
    service["services"][0]["taskDefinition"] = f"{arn}1"
    newest = {"taskDefinition": "fraudflow-dev-scorers"}
    for number in (1, 2):
        ecs.add_response("describe_services", service)
        ecs.add_response(
            "describe_task_definition", {"taskDefinition": {"taskDefinitionArn": f"{arn}{number}"}}, newest
        )
    services.refuse_older(stack, ["scorers"])
    _add_reasons(ecs, service)
    with pytest.raises(
        TerminalError, match=r"with fraudflow-dev-scorers:1: the rollout of fraudflow-dev-scorers:2 failed"
    ):
        services.refuse_older(stack, ["scorers"])


def test_a_task_that_died_is_seen_and_one_that_was_stopped_is_not(stack: Stack, ecs: Stubber) -> None:
    arns = [f"arn:aws:ecs:us-east-1:123456789012:task/fraudflow-dev/{number}" for number in range(2)]
    ecs.add_response("list_tasks", {"taskArns": arns})
    rolled = {"stoppedReason": "Scaling activity initiated by (deployment ecs-svc/123)"}
    died = {
        "stoppedReason": "Essential container in task exited",
        "stoppedAt": datetime(2026, 1, 1, 12, tzinfo=UTC),
        "containers": [{"exitCode": 137, "reason": "OutOfMemoryError"}],
    }
    ecs.add_response("describe_tasks", {"tasks": [rolled, died]})
    (death,) = services.deaths(stack, ["scorers"])
    for part in ("scorers", "2026-01-01T12:00:00", "Essential container in task exited", "OutOfMemoryError", "137"):
        assert part in death


def test_it_waits_while_tasks_start(stack: Stack, ecs: Stubber) -> None:
    for running in (0, 1):
        ecs.add_response("describe_services", _service(running))
    ecs.add_response("describe_services", _service(2, rolloutState="COMPLETED"))
    told: list[str] = []
    services.wait_healthy(stack, ["scorers"], told.append)
    assert told == ["scorers 0 of 2", "scorers 1 of 2"]


def test_a_second_provisioning_of_a_scaled_service_leaves_its_number(stack: Stack, ecs: Stubber) -> None:
    arn = "arn:aws:ecs:us-east-1:123456789012:task-definition/fraudflow-dev-scorers:2"
    spec = {"family": "fraudflow-dev-scorers", "count": 2, "scaled": True, "subnets": ["subnet-1"], "groups": ["sg-1"]}
    present = {
        "serviceName": "scorers",
        "status": "ACTIVE",
        "desiredCount": 7,
        "taskDefinition": arn[:-1] + "1",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}},
    }
    ecs.add_response("describe_services", {"services": [present]})
    ecs.add_response("describe_task_definition", {"taskDefinition": {"taskDefinitionArn": arn}})
    expected = {"cluster": "fraudflow-dev", "service": "scorers", "taskDefinition": arn}
    ecs.add_response("update_service", {"service": present}, expected)
    assert kind("ecs service").settle(stack, "scorers", "scorers", spec)


# Settings


@pytest.mark.parametrize(
    ("section", "name", "value", "told"),
    [
        ("kafka", "security_protocol", "PLAINTEXT", "SASL_SSL"),
        ("kafka", "sasl_password", None, "SASL_PASSWORD"),
        ("kafka", "ssl_ca_location", Path("ca.pem"), "SASL_SSL on ECS"),
        ("kafka", "bootstrap_servers", None, "BOOTSTRAP_SERVERS"),
        ("kafka", "replication_factor", 1, "REPLICATION_FACTOR=3"),
        ("aws", "prefect_api_url", "http://prefect.example.com/api", "use https"),
        ("aws", "prefect_auth_string", None, "PREFECT_AUTH_STRING"),
        ("aws", "dashboard_url", "http://fraud.example.com", "DASHBOARD_URL=https"),
        ("aws", "dashboard_url", "https://another.example.com", "redirect_uri must be https://another.example.com/"),
        ("aws", "dashboard_certificate_arn", None, "CERTIFICATE_ARN"),
        ("dashboard", "secrets", None, "would read it"),
        ("dashboard", "secrets", Path("is-not-there.toml"), "cannot be read"),
        ("dashboard", "secrets", Path(__file__), "is no TOML"),
        ("scoring", "model", "models/fraud.onnx", "aws s3 cp models/fraud.onnx s3://fraudflow-dev-123456789012-us-ea"),
        ("scoring", "model", "s3://bucket/models/fraud.onnx", "MODEL_SHA256"),
    ],
)
def test_settings_that_are_not_safe_are_refused(stack: Stack, section: str, name: str, value: Any, told: str) -> None:
    preconditions.check(stack)
    setattr(getattr(stack.settings, section), name, value)
    with pytest.raises(TerminalError, match=told):
        preconditions.check(stack)


def test_a_trial_may_do_without_encryption_but_not_open_its_dashboard(stack: Stack) -> None:
    stack.settings.kafka.security_protocol = "PLAINTEXT"
    stack.settings.aws.allow_insecure = True
    preconditions.check(stack)
    stack.settings.dashboard.secrets = None
    with pytest.raises(TerminalError, match="login"):
        preconditions.check(stack)


def test_the_dashboard_is_not_for_everybody() -> None:
    with pytest.raises(ValidationError, match="nearly everybody"):
        AwsSettings(dashboard_cidrs=["0.0.0.0/0"])


def test_a_secret_of_ones_own_is_used_and_the_known_one_is_not(stack: Stack) -> None:
    specs = {step.name: step.spec({}) for step in plan.steps(stack) if step.kind == "secret"}
    assert specs["card-token"] == {"made_up": "key"}
    stack.settings.scoring.card_token_key = SecretStr("a key of our own")
    specs = {step.name: step.spec({}) for step in plan.steps(stack) if step.kind == "secret"}
    assert specs["card-token"] == {"value": {"key": "a key of our own"}}


@pytest.mark.parametrize(("what", "stops"), [("replication factor", True), ("partitions", False)])
def test_topics_that_a_broker_can_take_with_it_stop_provisioning(stack: Stack, what: str, stops: bool) -> None:
    difference = TopicDifference("Transactions", what, "1", "3")
    with pytest.raises(TerminalError, match="Transactions") if stops else nullcontext():
        refuse_loss([difference], stack)
    stack.settings.aws.allow_insecure = True
    refuse_loss([difference], stack)


# Small things


@pytest.mark.parametrize(
    ("cidr", "pattern"),
    [("10.20.0.0/16", "10.20.*.*"), ("10.20.16.0/20", "10.20.16-31.*"), ("10.0.0.0/8", "10.*.*.*")],
)
def test_addresses_as_hazelcast_writes_them(cidr: str, pattern: str) -> None:
    assert interface_pattern(cidr) == pattern


def test_a_ledger_that_ends_in_half_a_line_is_still_read(tmp_path: Any) -> None:
    path = tmp_path / "dev.jsonl"
    ledger = Ledger(path)
    ledger.created("vpc", "main", "vpc-1")
    with path.open("a") as file:
        file.write('{"at": "2026-01-01T00:00:00+00:00", "event": "creat')
    ledger.created("subnet", "public", "subnet-1")
    assert [entry.id for entry in ledger.entries()] == ["vpc-1", "subnet-1"]


def test_the_price_is_the_sum_of_its_parts_and_grows_with_them() -> None:
    two, four = cost.estimate(AwsSettings(scorers=2)), cost.estimate(AwsSettings(scorers=4))
    assert four.usd_per_hour - two.usd_per_hour == pytest.approx(2 * (0.04048 + 2 * 0.004445))
    assert cost.estimate(AwsSettings(cpu_architecture="ARM64")).usd_per_hour < two.usd_per_hour
    own = cost.estimate(AwsSettings(vpc_id="vpc-1", subnet_ids=["subnet-1"]))
    assert two.usd_per_hour - own.usd_per_hour == pytest.approx(0.05)
    opened = cost.estimate(AwsSettings(dashboard_cidrs=["10.99.0.0/16"]))
    assert opened.usd_per_hour - two.usd_per_hour == pytest.approx(0.0225 + 0.008 + 2 * 0.005)
    assert cost.PRICES_AS_OF in cost.markdown(AwsSettings())


@pytest.mark.parametrize(
    ("lag", "partitions", "scorers"),
    [(0, 12, 2), (180_000, 12, 3), (10_000_000, 12, 8), (10_000_000, 4, 4)],
)
def test_scorers_follow_the_lag_within_bounds(lag: int, partitions: int, scorers: int, stack: Stack) -> None:
    assert services.scorers_for(lag, partitions, stack, 60) == scorers
