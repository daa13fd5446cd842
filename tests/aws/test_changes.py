"""A stack that is there, provisioned again with other settings, or after somebody took parts of it away."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.stub import Stubber

from infra.aws import audit, client, plan
from infra.aws.kinds import KINDS, kind
from infra.aws.prune import prune
from infra.aws.resource import Resource
from infra.aws.stack import Stack
from infra.errors import TerminalError
from infra.settings import Settings
from tests.aws.conftest import DIGEST, REGION, TEARDOWN, Calls, Ids, take_down

pytestmark = pytest.mark.server


def _changed(stack: Stack, **aws: Any) -> Stack:
    settings = stack.settings.model_copy(deep=True)
    settings.aws = settings.aws.model_copy(update=aws)
    return Stack(settings, stack.expires)


def _names(stack: Stack) -> set[str]:
    """What exists, by kind and name, but for what is AWS's own doing."""
    found = [one for each in KINDS for one in each.find(stack)]
    return {f"{one.kind}/{one.name}" for one in found if one.kind not in {"task", "network interface"}}


def _planned(stack: Stack) -> set[str]:
    return {step.key for step in plan.steps(stack)}


@pytest.mark.slow
@pytest.mark.parametrize("closed", [{"dashboard_cidrs": []}, {"metrics_cidrs": []}, {"budget_email": None}])
def test_what_is_no_longer_asked_for_is_removed(closed: dict[str, Any], aws: Calls, ecs_settings: Settings) -> None:
    before = Stack.of(ecs_settings)
    Ids(before).all()
    after = _changed(before, **closed)
    unwanted = _planned(before) - _planned(after)
    assert unwanted
    Ids(after).all()
    assert {f"{one.kind}/{one.name}" for one in prune(after)} == unwanted
    assert _names(after) == _planned(after)
    described = after.api("ecs").describe_services(cluster=after.prefix, services=["dashboard", "scorers"])["services"]
    for service in described:
        assert bool(service["loadBalancers"]) == (
            service["serviceName"] == "dashboard" and after.settings.aws.dashboard_cidrs != []
        )
        assert bool(service["serviceRegistries"]) == (after.settings.aws.metrics_cidrs != [])
    assert list(prune(after)) == []


def test_nothing_of_others_is_removed(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    Ids(stack)["log group/scorers"]
    theirs = f"{stack.path}somebody-else"
    stack.api("logs").create_log_group(logGroupName=theirs)
    other = Stack.of(ecs_settings).named("other")
    Ids(other)["secret/kafka"]
    assert list(prune(stack)) == []
    assert kind("log group").exists(stack, theirs)
    assert _names(other) == {"secret/kafka"}


@pytest.mark.slow
def test_a_door_that_is_opened_later_leads_to_the_dashboard(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    Ids(_changed(stack, dashboard_cidrs=[])).all()
    aws.clear()
    ids = Ids(stack).all()
    (update,) = [u for u in aws.of("UpdateService") if u["service"] == "dashboard"]
    assert update["loadBalancers"][0]["targetGroupArn"] == ids["target group/dashboard"]
    assert update["healthCheckGracePeriodSeconds"] > 0


def test_a_new_image_rolls_each_service_and_changes_nothing_else(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    Ids(stack).all()
    aws.clear()
    new = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/fraudflow@{DIGEST.replace('0', 'f')}"
    Ids(_changed(stack, image=new)).all()
    assert sorted(set(aws.writes())) == ["RegisterTaskDefinition", "UpdateService"]
    updates = aws.of("UpdateService")
    assert {update["service"] for update in updates} == {"scorers", "dashboard", "worker"}, "members are another image"
    for update in updates:
        assert set(update) == {"cluster", "service", "taskDefinition"}
        definition = stack.api("ecs").describe_task_definition(taskDefinition=update["taskDefinition"])[
            "taskDefinition"
        ]
        assert definition["containerDefinitions"][0]["image"] == new


@pytest.mark.slow
def test_members_become_more_at_once_and_fewer_one_at_a_time(aws: Calls, ecs_settings: Settings) -> None:
    """Each of two that leave together takes what was the other's backup."""
    stack = Stack.of(ecs_settings)
    Ids(stack).all()
    aws.clear()
    Ids(_changed(stack, members=5, scorers=4)).all()
    (grown,) = aws.of("UpdateService")
    assert (grown["service"], grown["desiredCount"]) == ("members", 5)
    assert 5 * grown["deploymentConfiguration"]["maximumPercent"] // 100 == 6
    aws.clear()
    Ids(_changed(stack, members=2)).all()
    assert [update["desiredCount"] for update in aws.of("UpdateService")] == [4, 3, 2]


@pytest.mark.slow
def test_one_zone_more_moves_no_subnet(aws: Calls, ecs_settings: Settings) -> None:
    two = _changed(Stack.of(ecs_settings), zones=2)
    Ids(two).all()
    three = _changed(two, zones=3)
    ids = Ids(three).all()
    assert _names(three) == _planned(three)
    services = three.api("ecs").describe_services(cluster=three.prefix, services=["members"])["services"]
    subnets = services[0]["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
    assert set(subnets) == {ids[f"subnet/private-{number}"] for number in (1, 2, 3)}
    Ids(two).all()
    assert [str(one.name) for one in prune(two)] == ["private-3"]


def test_another_budget_replaces_the_alarm(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    Ids(stack)["budget/cost"]
    Ids(_changed(stack, budget_usd=250.0))["budget/cost"]
    (budget,) = stack.api("budgets").describe_budgets(AccountId=stack.account)["Budgets"]
    assert float(budget["BudgetLimit"]["Amount"]) == 250


def test_another_address_is_mailed_from_then_on(aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    Ids(stack)["budget/cost"]
    mailing = _changed(stack, budget_email="new@example.com")
    for wanted, did in ((stack, "kept"), (mailing, "changed"), (mailing, "kept")):
        (step,) = [one for one in plan.steps(wanted) if one.key == "budget/cost"]
        assert kind(step.kind).ensure(stack, step.name, step.spec({})).did == did


@pytest.mark.slow
@pytest.mark.parametrize(
    "last", ["ecs service", "ecs cluster", "load balancer", "secret", "security group", "nat gateway"]
)
def test_a_stack_whose_teardown_was_broken_off_is_whole_again(last: str, aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    Ids(stack).all()
    names = [each.name for each in TEARDOWN]
    assert take_down(stack, TEARDOWN[: names.index(last) + 1]) == []
    _free_addresses(stack)
    Ids(stack).all()
    assert _names(stack) == _planned(stack)
    assert _way_out(stack) == Ids(stack)["nat gateway/out"]
    aws.clear()
    Ids(stack).all()
    assert aws.writes() == []


def _free_addresses(stack: Stack) -> None:
    """AWS does so when a NAT gateway is gone, and simulated AWS does not."""
    for address in stack.api("ec2").describe_addresses()["Addresses"]:
        if "AssociationId" in address:
            stack.api("ec2").disassociate_address(AssociationId=address["AssociationId"])


def _way_out(stack: Stack) -> str:
    """The NAT gateway to which tasks are sent."""
    ids = Ids(stack)
    (table,) = stack.api("ec2").describe_route_tables(RouteTableIds=[ids["route table/private"]])["RouteTables"]
    (out,) = [route for route in table["Routes"] if route.get("DestinationCidrBlock") == "0.0.0.0/0"]
    return out["NatGatewayId"]


# What AWS lets somebody delete while the rest is there.
BY_HAND = (
    *("budget/cost", "nat gateway/out", "s3 endpoint/s3", "iam role/worker", "log group/scorers", "bucket/files"),
    *("image repository/images", "secret/kafka", "listener/dashboard", "event rule/task-events", "queue/task-events"),
    *("task definition/scorers", "ecs service/scorers"),
)


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [True, False])
def test_what_somebody_deleted_by_hand_is_made_again(ledger: bool, aws: Calls, ecs_settings: Settings) -> None:
    stack = Stack.of(ecs_settings)
    Ids(stack).all()
    for each in TEARDOWN:
        for resource in each.find(stack):
            if f"{resource.kind}/{resource.name}" in BY_HAND:
                each.remove(stack, resource)
    if not ledger:
        stack.ledger.close()
    _free_addresses(stack)
    Ids(stack).all()
    assert _names(stack) == _planned(stack)
    assert _way_out(stack) == Ids(stack)["nat gateway/out"]
    assert take_down(stack) == []
    assert audit.look(stack) == []


@pytest.mark.parametrize("key", ["secret/kafka", "secret/card-token"])
def test_a_secret_that_somebody_deleted_is_there_again(key: str, aws: Calls, ecs_settings: Settings) -> None:
    """The console lets it be for a week or more, and so long nobody can make another of its name."""
    stack = Stack.of(ecs_settings)
    arn, manager = Ids(stack)[key], stack.api("secretsmanager")
    value = manager.get_secret_value(SecretId=arn)["SecretString"]
    manager.delete_secret(SecretId=arn, RecoveryWindowInDays=7)
    assert Ids(stack)[key] == arn
    assert manager.get_secret_value(SecretId=arn)["SecretString"] == value


def test_a_service_that_is_still_going_is_waited_for(ecs_settings: Settings) -> None:
    stack = Stack(ecs_settings, datetime(2026, 1, 1, tzinfo=UTC))
    draining = {"services": [{"serviceName": "scorers", "status": "DRAINING", "serviceArn": "arn:x/scorers"}]}
    cluster = {"clusters": [{"clusterName": stack.prefix, "status": "ACTIVE"}]}
    with Stubber(client.api("ecs", REGION)) as ecs:
        for _ in range(2):
            ecs.add_response("describe_services", draining)
            ecs.add_response("describe_clusters", cluster)
        ecs.add_response("describe_services", {"services": []})
        assert kind("ecs service").going(stack, "scorers")
        kind("ecs service").wait_gone(stack, Resource("ecs service", "scorers", "scorers"))


def test_a_way_out_that_aws_could_not_make_is_told_at_once(ecs_settings: Settings) -> None:
    stack = Stack(ecs_settings, datetime(2026, 1, 1, tzinfo=UTC))
    failed = {"NatGatewayId": "nat-1", "State": "failed", "FailureMessage": "Elastic IP is already associated"}
    with Stubber(client.api("ec2", REGION)) as ec2:
        ec2.add_response("describe_nat_gateways", {"NatGateways": [failed]})
        with pytest.raises(TerminalError, match="already associated"):
            kind("nat gateway").settle(stack, "out", "nat-1", {})


def test_stacks_of_one_name_in_two_regions_are_two(aws: Calls, ecs_settings: Settings) -> None:
    """Roles and budgets are global: what is torn down in one region must not take the other's."""
    here = Stack.of(ecs_settings)
    there = _changed(here, region="eu-west-1")
    # No bucket: simulated AWS lists those of every region in each region's tags.
    keys = ["iam role/worker", "budget/cost", "log group/scorers", "secret/kafka"]
    made = {key: Ids(there)[key] for key in keys}
    for key in keys:
        Ids(here)[key]
    assert take_down(here) == []
    assert audit.look(here) == []
    here.ledger.close()
    for key, ref in made.items():
        assert kind(key.partition("/")[0]).exists(there, ref), key
    assert {finding.resource.id for finding in audit.look(there)} == set(made.values())
    assert take_down(there) == []
