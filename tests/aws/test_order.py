"""AWS refuses to delete what is in use; simulated AWS mostly does not. So the order of the calls is what is tested."""

import pytest

from infra.aws.kinds import KINDS, kind
from infra.aws.stack import Stack
from infra.settings import Settings
from tests.aws.conftest import Calls, Ids, take_down
from tests.aws.test_leftovers import STEPS

pytestmark = pytest.mark.server

Call = tuple[str, str]
# (the kinds, the calls): every one of the first call comes before any of the second.
RULES = [
    ("ecs service", "ecs cluster", ("ecs", "DeleteService"), ("ecs", "DeleteCluster")),
    ("ecs service", "iam role", ("ecs", "DeleteService"), ("iam", "DeleteRole")),
    ("ecs service", "security group", ("ecs", "DeleteService"), ("ec2", "DeleteSecurityGroup")),
    ("ecs service", "subnet", ("ecs", "DeleteService"), ("ec2", "DeleteSubnet")),
    ("ecs service", "dns service", ("ecs", "DeleteService"), ("servicediscovery", "DeleteService")),
    ("ecs service", "task definition", ("ecs", "DeleteService"), ("ecs", "DeregisterTaskDefinition")),
    ("dns service", "dns namespace", ("servicediscovery", "DeleteService"), ("servicediscovery", "DeleteNamespace")),
    ("dns namespace", "vpc", ("servicediscovery", "DeleteNamespace"), ("ec2", "DeleteVpc")),
    ("security rules", "security group", ("ec2", "RevokeSecurityGroupIngress"), ("ec2", "DeleteSecurityGroup")),
    ("security group", "vpc", ("ec2", "DeleteSecurityGroup"), ("ec2", "DeleteVpc")),
    ("listener", "load balancer", ("elbv2", "DeleteListener"), ("elbv2", "DeleteLoadBalancer")),
    ("listener", "target group", ("elbv2", "DeleteListener"), ("elbv2", "DeleteTargetGroup")),
    ("load balancer", "security group", ("elbv2", "DeleteLoadBalancer"), ("ec2", "DeleteSecurityGroup")),
    ("load balancer", "subnet", ("elbv2", "DeleteLoadBalancer"), ("ec2", "DeleteSubnet")),
    ("load balancer", "internet gateway", ("elbv2", "DeleteLoadBalancer"), ("ec2", "DetachInternetGateway")),
    ("ecs service", "target group", ("ecs", "DeleteService"), ("elbv2", "DeleteTargetGroup")),
    ("s3 endpoint", "route table", ("ec2", "DeleteVpcEndpoints"), ("ec2", "DeleteRouteTable")),
    ("nat gateway", "elastic ip", ("ec2", "DeleteNatGateway"), ("ec2", "ReleaseAddress")),
    ("nat gateway", "subnet", ("ec2", "DeleteNatGateway"), ("ec2", "DeleteSubnet")),
    ("elastic ip", "internet gateway", ("ec2", "ReleaseAddress"), ("ec2", "DetachInternetGateway")),
    ("route table", "subnet", ("ec2", "DisassociateRouteTable"), ("ec2", "DeleteSubnet")),
    ("subnet", "vpc", ("ec2", "DeleteSubnet"), ("ec2", "DeleteVpc")),
    ("internet gateway", "vpc", ("ec2", "DeleteInternetGateway"), ("ec2", "DeleteVpc")),
]


def _broken(calls: Calls, first: Call, second: Call) -> bool:
    """Whether something was still to be deleted, or was never asked to go, when what it needs went."""
    order = [(service, name) for service, name, _ in calls.requests]
    return second in order and (first not in order or order[::-1].index(first) < len(order) - 1 - order.index(second))


def test_teardown_deletes_in_the_order_that_aws_asks_for(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    Ids(stack).all()
    aws.clear()
    assert take_down(stack) == []
    called = {(service, name) for service, name, _ in aws.requests}
    assert {call for rule in RULES for call in rule[2:]} <= called, "a rule that nothing is asked for tests nothing"
    assert [rule for rule in RULES if _broken(aws, *rule[2:])] == []


@pytest.mark.slow
@pytest.mark.parametrize(("earlier", "later", "first", "second"), RULES)
def test_a_wrong_order_is_noticed(
    earlier: str, later: str, first: Call, second: Call, aws: Calls, ecs_settings: Settings
) -> None:
    stack = Stack.of(ecs_settings)
    ids = Ids(stack)
    for name in (earlier, later):
        ids[STEPS[name]]
    # Only the members' group lets somebody in.
    ids["security rules/members"]
    aws.clear()
    failures = take_down(stack, [kind(later), kind(earlier)])
    # Simulated AWS refuses some of it by itself.
    assert failures or _broken(aws, first, second)


def test_provisioning_needs_nothing_that_comes_later(aws: Calls, ecs_settings: Settings) -> None:
    """Teardown is the table upwards, so the table must be in the order of need."""
    stack = Stack.of(ecs_settings)
    Ids(stack).all()
    created = [entry.kind for entry in stack.ledger.entries()]
    places = [[kind.name for kind in KINDS].index(name) for name in created]
    network = [place for place in places if place > 0]
    assert network == sorted(network)
