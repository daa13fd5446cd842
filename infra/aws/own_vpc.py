"""Whether a VPC of the user's does: all that a stack in a wrong one says is a time-out after fifteen minutes."""

from collections.abc import Mapping
from typing import Any

from infra.aws.client import explaining, unless_missing
from infra.aws.network import EVERYWHERE, SecurityGroup, Vpc
from infra.aws.stack import Stack

_NO_VPC = {"InvalidVpcID.NotFound", "InvalidVpcID.Malformed", "InvalidVpcId.Malformed"}


def complaints(stack: Stack) -> list[str]:
    """What is wrong with the VPC and the subnets that the settings name."""
    vpc, ec2 = stack.settings.aws.vpc_id, stack.api("ec2")
    if vpc is None:
        return []
    with explaining(f"look at {vpc}"):
        if unless_missing(lambda: ec2.describe_vpcs(VpcIds=[vpc]), *_NO_VPC) is None:
            return [f"there is no VPC {vpc} in {stack.region} of account {stack.account}: FRAUDFLOW_AWS__VPC_ID"]
        named = ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsHostnames")["EnableDnsHostnames"]["Value"]
        return ([] if named else [_no_names(vpc)]) + _subnets(stack, vpc)


def _no_names(vpc: str) -> str:
    return (
        f"{vpc} gives no DNS names, by which members are found: "
        f"`aws ec2 modify-vpc-attribute --vpc-id {vpc} --enable-dns-hostnames`"
    )


def _subnets(stack: Stack, vpc: str) -> list[str]:
    wanted, inside = stack.settings.aws.subnet_ids, [{"Name": "vpc-id", "Values": [vpc]}]
    found = {s["SubnetId"]: s for s in stack.pages("ec2", "describe_subnets", "Subnets", Filters=inside)}
    missing = [subnet for subnet in wanted if subnet not in found]
    if missing:
        return [f"{vpc} has no subnet {', '.join(missing)}: FRAUDFLOW_AWS__SUBNET_IDS"]
    tables = list(stack.pages("ec2", "describe_route_tables", "RouteTables", Filters=inside))
    problems = [problem for subnet in wanted if (problem := _no_way_out(subnet, tables))]
    if len({found[subnet]["AvailabilityZone"] for subnet in wanted}) < 2:
        problems.append(
            "all of FRAUDFLOW_AWS__SUBNET_IDS are in one zone: name two, so that a backup is in another one"
        )
    return problems


def _no_way_out(subnet: str, tables: list[Any]) -> str | None:
    """A subnet that names no table has the VPC's main one."""
    own = [table for table in tables if any(a.get("SubnetId") == subnet for a in table["Associations"])]
    main = [table for table in tables if any(a.get("Main") for a in table["Associations"])]
    routes = [route for table in (own or main)[:1] for route in table["Routes"] if _default(route)]
    if any(str(route.get("GatewayId", "")).startswith("igw-") for route in routes):
        return (
            f"subnet {subnet} is a public one: tasks have no public address and reach nothing through its internet "
            "gateway. Name private subnets, whose default route leads to a NAT gateway, in FRAUDFLOW_AWS__SUBNET_IDS"
        )
    if not routes:
        return (
            f"subnet {subnet} has no default route: tasks would reach neither their images, nor Kafka, nor Prefect. "
            "Give it one to a NAT gateway, or name others in FRAUDFLOW_AWS__SUBNET_IDS"
        )
    return None


def _default(route: Mapping[str, Any]) -> bool:
    return route.get("DestinationCidrBlock") == EVERYWHERE and route.get("State") != "blackhole"


def moves(stack: Stack) -> list[str]:
    """Whether a stack that is there would have to go into another VPC, or get other addresses, which none can."""
    aws, api = stack.settings.aws, stack.api("ec2")
    way = "tear it down first, or choose another FRAUDFLOW_AWS__STACK"
    with explaining("look where the stack is"):
        own = [vpc.id for vpc in Vpc().find(stack)]
        groups = [group.id for group in SecurityGroup().find(stack)]
        made = api.describe_vpcs(VpcIds=own)["Vpcs"] if own else []
        places = api.describe_security_groups(GroupIds=groups)["SecurityGroups"] if groups else []
    if not aws.vpc_id and (cidrs := {vpc["CidrBlock"] for vpc in made} - {aws.vpc_cidr}):
        return [f"stack {stack.name} has the addresses {cidrs.pop()}, and the settings say {aws.vpc_cidr}: {way}"]
    wanted = {aws.vpc_id} if aws.vpc_id else set(own)
    if elsewhere := {group["VpcId"] for group in places} - wanted:
        return [f"stack {stack.name} is in {elsewhere.pop()}, and the settings mean {aws.vpc_id or 'its own'}: {way}"]
    return []
