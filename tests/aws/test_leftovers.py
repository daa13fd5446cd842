"""Nothing is left, or it is named: each kind left behind once, each look blinded once, and what is not ours kept."""

from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from infra.aws import audit
from infra.aws.kinds import KINDS, kind
from infra.aws.stack import Stack
from infra.errors import TerminalError, TransientError
from infra.settings import Settings
from tasks.aws import look_for_leftovers
from tests.aws.conftest import Calls, Ids, take_down

pytestmark = pytest.mark.server

# One step of each kind that a stack is made of.
STEPS = {
    "budget": "budget/cost",
    "vpc": "vpc/main",
    "internet gateway": "internet gateway/main",
    "subnet": "subnet/private-1",
    "elastic ip": "elastic ip/out",
    "nat gateway": "nat gateway/out",
    "route table": "route table/private",
    "s3 endpoint": "s3 endpoint/s3",
    "security group": "security group/scorers",
    "security rules": "security rules/scorers",
    "iam role": "iam role/worker",
    "log group": "log group/scorers",
    "bucket": "bucket/files",
    "image repository": "image repository/images",
    "secret": "secret/kafka",
    "dns namespace": "dns namespace/dns",
    "dns service": "dns service/members",
    "target group": "target group/dashboard",
    "load balancer": "load balancer/dashboard",
    "listener": "listener/dashboard",
    "ecs cluster": "ecs cluster/cluster",
    "event rule": "event rule/task-events",
    "queue": "queue/task-events",
    "task definition": "task definition/scorers",
    "ecs service": "ecs service/members",
}


def _task(stack: Stack, ids: Ids) -> str:
    """What Prefect's worker starts."""
    ids["ecs cluster/cluster"]
    network = {"subnets": [ids["subnet/private-1"]], "securityGroups": [ids["security group/flows"]]}
    started = stack.api("ecs").run_task(
        cluster=stack.prefix,
        taskDefinition=ids["task definition/flows"],
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": network},
    )
    return started["tasks"][0]["taskArn"]


def _network_interface(stack: Stack, ids: Ids) -> str:
    """What ECS leaves behind for some minutes."""
    made = stack.api("ec2").create_network_interface(
        SubnetId=ids["subnet/private-1"], Groups=[ids["security group/scorers"]]
    )
    return made["NetworkInterface"]["NetworkInterfaceId"]


OTHERS = {"task": _task, "network interface": _network_interface}
# AWS deletes no group and no cluster that is in use; simulated AWS does, and what is in it is lost with it.
HOLDS = {
    "security rules": ["security group"],
    "network interface": ["security group"],
    "task": ["ecs cluster"],
    "ecs service": ["ecs cluster"],
    # A listener goes with its load balancer.
    "listener": ["load balancer"],
}


def test_every_kind_is_left_behind_once() -> None:
    assert set(STEPS) | set(OTHERS) == {kind.name for kind in KINDS}


@pytest.mark.slow
@pytest.mark.parametrize("left", [kind.name for kind in KINDS])
def test_what_is_left_behind_is_named(left: str, aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    ids = Ids(stack)
    ref = OTHERS[left](stack, ids) if left in OTHERS else ids[STEPS[left]]
    take_down(stack, but=[left, *HOLDS.get(left, [])])
    found = {(finding.resource.kind, finding.resource.id): finding for finding in audit.look(stack)}
    assert (left, ref) in found, f"{left} {ref} is still there, and the look says: {list(found)}"


@pytest.mark.parametrize("blind", ["_by_ledger", "_by_tags", "_by_names"])
def test_no_look_is_needed_for_what_the_others_see(
    blind: str, aws: Calls, ecs_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack.of(ecs_settings)
    ids = Ids(stack)
    keys = [STEPS[left] for left in ("vpc", "log group", "queue", "secret", "ecs cluster", "task definition")]
    made = {ids[key] for key in keys}
    monkeypatch.setattr(audit, blind, lambda _: [])
    assert made <= {finding.resource.id for finding in audit.look(stack)}


def test_a_lost_ledger_is_no_obstacle(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    Ids(stack)["ecs service/scorers"]
    stack.ledger.close()
    assert audit.look(stack)
    assert take_down(stack) == []
    assert not audit.look(stack)


def test_what_has_our_name_but_not_our_tag_is_told_and_never_touched(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    theirs = f"{stack.path}somebody-else"
    stack.api("logs").create_log_group(logGroupName=theirs)
    failures = take_down(stack)
    (finding,) = audit.look(stack)
    assert finding.resource.id == theirs
    assert "not its tag" in str(finding)
    assert "not touched" in failures[0]
    assert "DeleteLogGroup" not in aws.names()


@pytest.mark.parametrize("key", ["log group/scorers", "secret/kafka", "queue/task-events", "iam role/worker"])
def test_what_holds_our_name_is_told_before_anything_is_made_of_it(
    key: str, aws: Calls, ecs_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of AWS one would hear no more than that it exists already."""
    stack = Stack.of(ecs_settings)
    with monkeypatch.context() as somebody_else:
        somebody_else.setattr("infra.aws.stack.STACK_TAG", "another-tool")
        Ids(stack)[key]
    stack.ledger.close()
    with pytest.raises(TerminalError, match="not its tag"):
        Ids(stack)[key]


def test_another_stack_and_the_rest_of_the_account_stay(aws: Calls, ecs_settings: Settings) -> None:
    other_settings = ecs_settings.model_copy(deep=True)
    other_settings.aws.stack = "dev2"
    ours, other = Stack.of(ecs_settings), Stack.of(other_settings)
    keys = ["ecs service/members", "bucket/files", "queue/task-events", "secret/kafka", "event rule/task-events"]
    made = {kind.partition("/")[0]: [Ids(stack)[kind] for stack in (ours, other)] for kind in keys}
    vpc = ours.api("ec2").create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    take_down(ours)
    assert not audit.look(ours)
    for name, (_, theirs) in made.items():
        assert kind(name).exists(other, theirs), f"{name} of the other stack is gone"
    assert kind("vpc").exists(ours, vpc)


def test_a_full_bucket_is_emptied_of_every_version(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    bucket = Ids(stack)["bucket/files"]
    s3 = stack.api("s3")
    with pytest.raises(ClientError, match="Forbidden"):  # the test speaks HTTP, and the policy asks for TLS
        s3.put_object(Bucket=bucket, Key="models/fraud.onnx", Body=b"")
    s3.delete_bucket_policy(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for content in (b"one", b"two"):
        s3.put_object(Bucket=bucket, Key="models/fraud.onnx", Body=content)
    s3.delete_object(Bucket=bucket, Key="models/fraud.onnx")
    assert take_down(stack) == []
    assert not kind("bucket").exists(stack, bucket)


def test_the_latest_expiry_of_a_stack_counts(aws: Calls, ecs_settings: Settings) -> None:
    first = Stack.of(ecs_settings)
    Ids(first)["log group/scorers"]
    later = Stack(ecs_settings, first.expires + timedelta(hours=5))
    Ids(later)["log group/members"]
    assert audit.expiries(first) == {"dev": later.expires.isoformat(timespec="seconds")}


def test_aws_that_does_not_answer_is_not_taken_for_nothing_left(
    ecs_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def throttled(_: Stack) -> list[audit.Finding]:
        raise TransientError("Rate exceeded")

    monkeypatch.setattr(audit, "look", throttled)
    with pytest.raises(TransientError, match="Rate exceeded"):
        look_for_leftovers.fn("dev")
