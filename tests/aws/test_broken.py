"""What people get wrong: each is told within seconds, with what to do, without a traceback, and before it costs."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from infra.aws import audit, preconditions
from infra.aws.containers import ROLES, SERVICES
from infra.aws.stack import Stack
from infra.errors import TerminalError
from infra.settings import Settings
from tests.aws.conftest import REGION, Calls, Ids, settings_for, take_down

pytestmark = pytest.mark.server

SECONDS = 60
"""Of which most is Python's start on a busy machine; boto3's own tries are within."""


def _fraudflow(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in (os.environ | variables).items() if value}
    command = [str(Path(sys.executable).with_name("fraudflow")), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            {"FRAUDFLOW_AWS__REGION": "us-esat-1"},
            ["no region 'us-esat-1'", "FRAUDFLOW_AWS__REGION", "us-east-1?"],
        ),
        ({"FRAUDFLOW_AWS__REGION": "the moon"}, ["no region 'the moon'", "FRAUDFLOW_AWS__REGION"]),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ["no AWS credentials", "aws sso login"]),
        ({"AWS_PROFILE": "nobody"}, ["no AWS credentials", "nobody", "AWS_PROFILE"]),
        ({"FRAUDFLOW_AWS__STACK": "Production"}, ["FRAUDFLOW_AWS", "'Production'", "small letters"]),
        ({"FRAUDFLOW_AWS__STACK": "a" * 17}, ["FRAUDFLOW_AWS", "at most 16"]),
        ({"FRAUDFLOW_AWS__VPC_CIDR": "10.20.0.0/28"}, ["FRAUDFLOW_AWS", "10.20.0.0/28", "/16 to /24"]),
        ({"FRAUDFLOW_AWS__VPC_CIDR": "10.20.0.1/16"}, ["FRAUDFLOW_AWS", "10.20.0.1/16"]),
        ({"FRAUDFLOW_AWS__BUDGET_USD": "50", "FRAUDFLOW_AWS__BUDGET_EMAIL": ""}, ["FRAUDFLOW_AWS", "tells nobody"]),
        ({"FRAUDFLOW_AWS__BUDGET_EMAIL": "me"}, ["FRAUDFLOW_AWS", "no address"]),
        ({"FRAUDFLOW_AWS__VPC_ID": "vpc-1"}, ["FRAUDFLOW_AWS", "subnet_ids go together"]),
        (
            {"FRAUDFLOW_AWS__VPC_ID": "vpc-0123456789abcdef0", "FRAUDFLOW_AWS__SUBNET_IDS": '["subnet-1"]'},
            ["no VPC vpc-0123456789abcdef0", "FRAUDFLOW_AWS__VPC_ID"],
        ),
    ],
)
def test_it_is_told_what_to_mend(
    variables: dict[str, str], told: list[str], aws: Calls, ecs_settings: Settings
) -> None:
    done = _fraudflow("provision", "--target", "ecs", "--dry-run", **variables)
    assert done.returncode == 1
    for part in told:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) < 5


@pytest.fixture
def network(aws: Calls) -> dict[str, str]:
    """A VPC of the user's: two private subnets with a way out, two public ones, a lonely one, and its gateways."""
    ec2 = boto3.client("ec2", REGION)
    ids = {"vpc": ec2.create_vpc(CidrBlock="10.50.0.0/16")["Vpc"]["VpcId"]}
    ec2.modify_vpc_attribute(VpcId=ids["vpc"], EnableDnsHostnames={"Value": True})
    ids["gateway"] = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=ids["gateway"], VpcId=ids["vpc"])
    places = [("public-a", "a"), ("public-b", "b"), ("private-a", "a"), ("private-b", "b"), ("lonely", "b")]
    for number, (name, zone) in enumerate(places):
        made = ec2.create_subnet(VpcId=ids["vpc"], CidrBlock=f"10.50.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")
        ids[name] = made["Subnet"]["SubnetId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=ids["public-a"], AllocationId=address)["NatGateway"]["NatGatewayId"]
    for kind, way in (("public", {"GatewayId": ids["gateway"]}), ("private", {"NatGatewayId": nat})):
        table = ec2.create_route_table(VpcId=ids["vpc"])["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **way)
        for zone in ("a", "b"):
            ec2.associate_route_table(RouteTableId=table, SubnetId=ids[f"{kind}-{zone}"])
    return ids


@pytest.mark.parametrize(
    ("subnets", "told"),
    [
        (["private-a", "private-b"], None),
        (["public-a", "public-b"], "is a public one"),
        (["private-a", "public-b"], "is a public one"),
        (["private-a", "lonely"], "has no default route"),
        (["private-a"], "in one zone"),
        (["private-a", "subnet-0123456789abcdef0"], "has no subnet subnet-0123456789abcdef0"),
    ],
)
def test_a_vpc_of_ones_own_is_looked_at_first(
    subnets: list[str], told: str | None, network: dict[str, str], tmp_path: Path
) -> None:
    chosen = [network.get(name, name) for name in subnets]
    stack = Stack.of(settings_for(tmp_path, vpc_id=network["vpc"], subnet_ids=chosen))
    if told is None:
        preconditions.check(stack)
        return
    with pytest.raises(TerminalError, match=told):
        preconditions.check(stack)


@pytest.mark.slow
def test_a_stack_in_a_vpc_of_ones_own_leaves_it_as_it_was(network: dict[str, str], tmp_path: Path) -> None:
    private = [network["private-a"], network["private-b"]]
    stack = Stack.of(settings_for(tmp_path, vpc_id=network["vpc"], subnet_ids=private))
    before = _network_of(network["vpc"])
    Ids(stack).all()
    groups = stack.api("ec2").describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [network["vpc"]]}])
    assert len(groups["SecurityGroups"]) == 1 + len(ROLES) + 1, "its own, one for each role, the load balancer's"
    services = stack.api("ecs").describe_services(cluster=stack.prefix, services=list(SERVICES))["services"]
    places = [service["networkConfiguration"]["awsvpcConfiguration"]["subnets"] for service in services]
    assert places == [private] * len(SERVICES)
    assert take_down(stack) == []
    assert audit.look(stack) == []
    assert _network_of(network["vpc"]) == before


def _network_of(vpc: str) -> list[str]:
    """Everything in the VPC, and all that costs for its sake."""
    ec2, inside = boto3.client("ec2", REGION), [{"Name": "vpc-id", "Values": [vpc]}]
    return sorted(
        [
            *(item["VpcId"] for item in ec2.describe_vpcs()["Vpcs"]),
            *(item["SubnetId"] for item in ec2.describe_subnets(Filters=inside)["Subnets"]),
            *(item["RouteTableId"] for item in ec2.describe_route_tables(Filters=inside)["RouteTables"]),
            *(item["GroupId"] for item in ec2.describe_security_groups(Filters=inside)["SecurityGroups"]),
            *(item["InternetGatewayId"] for item in ec2.describe_internet_gateways()["InternetGateways"]),
            *(item["NatGatewayId"] for item in ec2.describe_nat_gateways()["NatGateways"]),
            *(item["AllocationId"] for item in ec2.describe_addresses()["Addresses"]),
        ]
    )


def test_a_vpc_without_names_is_told(network: dict[str, str], tmp_path: Path) -> None:
    boto3.client("ec2", REGION).modify_vpc_attribute(VpcId=network["vpc"], EnableDnsHostnames={"Value": False})
    private = [network["private-a"], network["private-b"]]
    stack = Stack.of(settings_for(tmp_path, vpc_id=network["vpc"], subnet_ids=private))
    with pytest.raises(TerminalError, match="--enable-dns-hostnames"):
        preconditions.check(stack)


def test_a_stack_does_not_move(network: dict[str, str], tmp_path: Path) -> None:
    """What is in one VPC can be of no use to what comes in another."""
    made = Stack.of(settings_for(tmp_path))
    Ids(made)["security group/scorers"]
    preconditions.check(made)
    private = [network["private-a"], network["private-b"]]
    with pytest.raises(TerminalError, match="tear it down first"):
        preconditions.check(Stack.of(settings_for(tmp_path, vpc_id=network["vpc"], subnet_ids=private)))
    with pytest.raises(TerminalError, match=r"10\.20\.0\.0/16.*10\.30\.0\.0/16"):
        preconditions.check(Stack.of(settings_for(tmp_path, vpc_cidr="10.30.0.0/16")))


def test_addresses_that_somebody_took_are_told(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    vpc = Ids(stack)["vpc/main"]
    stack.api("ec2").create_subnet(VpcId=vpc, CidrBlock="10.20.0.0/20")
    with pytest.raises(TerminalError, match="FRAUDFLOW_AWS__VPC_CIDR"):
        Ids(stack)["subnet/public"]


def test_a_secret_that_may_not_be_read_is_told(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    Ids(stack)["secret/kafka"]
    aws.fail("GetSecretValue", "AccessDeniedException", "not authorized to perform secretsmanager:GetSecretValue")
    with pytest.raises(TerminalError, match=r"secret kafka.*permission for GetSecretValue") as told:
        Ids(stack)["secret/kafka"]
    assert "kafka-secret-word" not in str(told.value)


@pytest.mark.parametrize("name", ["Dev", "a" * 17, "x/y"])
def test_a_name_that_no_stack_can_have_is_told(name: str, ecs_settings: Settings) -> None:
    with pytest.raises(TerminalError, match="small letters"):
        Stack.of(ecs_settings).named(name)
