"""What is asked of AWS to make a stack: least rights, no secret in the open, nothing public. Simulated AWS does not
echo all of it, so the requests are looked at and not what came of them."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint_all
from pydantic import SecretStr

from infra.aws import containers, plan
from infra.aws.containers import DASHBOARD, FLOWS, MEMBERS, ROLES, SCORERS, SERVICES, WORKER
from infra.aws.stack import Stack
from infra.aws.work_pool import base_job_template
from tests.aws.conftest import SECRET_WORDS, Calls, Ids, reset, settings_for

pytestmark = pytest.mark.server

# Actions that IAM can tie to no resource, and why each is granted.
ANY_RESOURCE = {
    "ecr:GetAuthorizationToken": "the login of the image registry",
    "ecs:DescribeTaskDefinition": "Prefect's worker reads the definition that it runs",
    "ecs:ListTasks": "members find each other; tied to the cluster by a condition",
}


@pytest.fixture(scope="module")
def made(moto: str, calls: Calls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Stack, Ids, Calls]:
    """A whole stack, and every request that made it."""
    reset(moto, calls)
    stack = Stack.of(settings_for(tmp_path_factory.mktemp("home")))
    ids = Ids(stack).all()
    recorded = Calls()
    recorded.requests = list(calls.requests)
    return stack, ids, recorded


@pytest.fixture(scope="module")
def requests(made: tuple[Stack, Ids, Calls]) -> Calls:
    return made[2]


@pytest.fixture(scope="module")
def definitions(requests: Calls) -> dict[str, dict[str, Any]]:
    found = {d["family"].rpartition("-")[2]: d for d in requests.of("RegisterTaskDefinition")}
    assert set(found) == set(ROLES)
    return found


def _containers(definitions: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for role, definition in definitions.items():
        for container in definition["containerDefinitions"]:
            yield role, container


def _policies(requests: Calls) -> dict[str, list[dict[str, Any]]]:
    policies = requests.of("PutRolePolicy")
    return {p["RoleName"].rpartition("-")[2]: json.loads(p["PolicyDocument"])["Statement"] for p in policies}


def _rules(requests: Calls, operation: str) -> list[tuple[str, int, str]]:
    return [
        (request["GroupId"], permission["FromPort"], whom)
        for request in requests.of(operation)
        for permission in request["IpPermissions"]
        for whom in [
            *(pair["GroupId"] for pair in permission.get("UserIdGroupPairs", [])),
            *(entry["CidrIp"] for entry in permission.get("IpRanges", [])),
        ]
    ]


# Hazelcast and the network (A)


def test_only_members_scorers_flows_and_dashboard_reach_hazelcast(made: tuple[Stack, Ids, Calls]) -> None:
    _, ids, requests = made
    group = ids[f"security group/{MEMBERS}"]
    rules = [(port, whom) for to, port, whom in _rules(requests, "AuthorizeSecurityGroupIngress") if to == group]
    allowed = {ids[f"security group/{role}"] for role in (MEMBERS, SCORERS, FLOWS, DASHBOARD)}
    assert {port for port, _ in rules} == {5701}
    assert {whom for _, whom in rules} == allowed


def test_addresses_come_in_where_the_settings_say_and_nowhere_else(made: tuple[Stack, Ids, Calls]) -> None:
    _, ids, requests = made
    inbound = [rule for rule in _rules(requests, "AuthorizeSecurityGroupIngress") if not rule[2].startswith("sg-")]
    assert set(inbound) == {
        (ids["security group/balancer"], 443, "10.99.0.0/16"),
        *((ids[f"security group/{role}"], 9400, "10.20.240.0/20") for role in (SCORERS, DASHBOARD)),
    }


def test_what_goes_out_goes_to_named_ports_only(made: tuple[Stack, Ids, Calls]) -> None:
    _, ids, requests = made
    assert requests.of("RevokeSecurityGroupEgress"), "AWS lets a new group out to everywhere"
    outbound = _rules(requests, "AuthorizeSecurityGroupEgress")
    balancer = ids["security group/balancer"]
    assert {rule for rule in outbound if rule[0] == balancer} == {(balancer, 8501, ids[f"security group/{DASHBOARD}"])}
    assert {port for group, port, _ in outbound if group != balancer} == {443, 9092, 5701}


# The dashboard (B, where it is ECS's)


def test_the_dashboard_is_behind_a_load_balancer_with_tls(made: tuple[Stack, Ids, Calls]) -> None:
    _, ids, requests = made
    group = ids[f"security group/{DASHBOARD}"]
    rules = {rule for rule in _rules(requests, "AuthorizeSecurityGroupIngress") if rule[:2] == (group, 8501)}
    assert rules == {(group, 8501, ids["security group/balancer"])}
    (listener,) = requests.of("CreateListener")
    assert (listener["Protocol"], listener["Port"]) == ("HTTPS", 443)
    assert "TLS13" in listener["SslPolicy"]
    (balancer,) = requests.of("CreateLoadBalancer")
    assert balancer["Scheme"] == "internet-facing", "nothing else leads into a VPC that was just made"
    assert balancer["Subnets"] == [ids["subnet/public"], ids["subnet/public-2"]]
    services = {request["serviceName"]: request for request in requests.of("CreateService", "ecs")}
    door = {"targetGroupArn": ids["target group/dashboard"], "containerName": DASHBOARD, "containerPort": 8501}
    assert services[DASHBOARD]["loadBalancers"] == [door]
    assert not any("loadBalancers" in request for name, request in services.items() if name != DASHBOARD)


def test_the_dashboard_asks_for_a_login(definitions: dict[str, dict[str, Any]]) -> None:
    (container,) = definitions[DASHBOARD]["containerDefinitions"]
    given = {entry["name"]: entry["valueFrom"] for entry in container["secrets"]}
    assert given["FRAUDFLOW_DASHBOARD_LOGIN"].endswith(":toml::")
    assert "/link" in given["FRAUDFLOW_DASHBOARD__LINK_KEY"], "customers' links are signed by a key of their own"
    environment = {entry["name"]: entry["value"] for entry in container["environment"]}
    assert environment["FRAUDFLOW_DASHBOARD_URL"] == "https://fraud.example.com", "customers' links begin with it"


def test_in_a_vpc_of_ones_own_the_dashboard_has_no_public_address(tmp_path: Path) -> None:
    stack = Stack.of(settings_for(tmp_path, vpc_id="vpc-1", subnet_ids=["subnet-1", "subnet-2"]))
    specs = {step.key: step for step in plan.steps(stack)}
    spec = specs["load balancer/dashboard"].spec({"security group/balancer": "sg-1"})
    assert spec == {"subnets": ["subnet-1", "subnet-2"], "group": "sg-1", "public": False}


def test_a_dashboard_that_nobody_may_open_has_no_way_in(tmp_path: Path) -> None:
    stack = Stack.of(settings_for(tmp_path, dashboard_cidrs=[], metrics_cidrs=[]))
    steps = {step.key: step for step in plan.steps(stack)}
    assert not [key for key in steps if "balancer" in key or "listener" in key or "public-2" in key]
    ids = defaultdict(str, {f"security group/{role}": role for role in ROLES})
    for role in (SCORERS, DASHBOARD, WORKER, FLOWS):
        assert steps[f"security rules/{role}"].spec(ids)["ingress"] == []


def test_prometheus_finds_scorers_and_dashboard_by_name(
    made: tuple[Stack, Ids, Calls], definitions: dict[str, dict[str, Any]]
) -> None:
    _, ids, requests = made
    services = {request["serviceName"]: request for request in requests.of("CreateService", "ecs")}
    for role in (SCORERS, DASHBOARD):
        assert services[role]["serviceRegistries"][0]["registryArn"].endswith(ids[f"dns service/{role}"])
        (container,) = definitions[role]["containerDefinitions"]
        assert {"containerPort": 9400, "protocol": "tcp"} in container["portMappings"]
    environment = {e["name"]: e["value"] for e in definitions[SCORERS]["containerDefinitions"][0]["environment"]}
    assert environment["FRAUDFLOW_SCORING__HEALTH_PORT"] == "9400"
    assert environment["FRAUDFLOW_SCORING__HEALTH_ADDRESS"] == "0.0.0.0"  # noqa: S104


def test_no_task_has_a_public_address(made: tuple[Stack, Ids, Calls]) -> None:
    stack, ids, requests = made
    networks = [request["networkConfiguration"] for request in requests.of("CreateService", "ecs")]
    pool = base_job_template(stack, ["subnet-1"], "sg-1", None)
    networks.append(pool["job_configuration"]["task_run_request"]["networkConfiguration"])
    assert len(networks) == len(SERVICES) + 1
    assert {network["awsvpcConfiguration"]["assignPublicIp"] for network in networks} == {"DISABLED"}
    for request in requests.of("CreateService", "ecs"):
        assert ids["subnet/public"] not in request["networkConfiguration"]["awsvpcConfiguration"]["subnets"]


def test_members_keep_their_data_when_one_leaves(definitions: dict[str, dict[str, Any]]) -> None:
    (container,) = definitions[MEMBERS]["containerDefinitions"]
    waits = [part for part in container["command"] if "graceful.shutdown.max.wait" in part]
    assert "-Dhazelcast.shutdownhook.policy=GRACEFUL" in container["command"]
    assert int(waits[0].partition("=")[2]) < container["stopTimeout"] <= 120


# ECS and IAM (D)


def test_secrets_come_by_reference(definitions: dict[str, dict[str, Any]], requests: Calls) -> None:
    for role, container in _containers(definitions):
        for entry in container["environment"]:
            assert not re.search(r"PASSWORD|SECRET|TOKEN|KEY|AUTH", entry["name"]), f"{role}: {entry['name']}"
        for entry in container["secrets"]:
            assert re.fullmatch(r"arn:aws:secretsmanager:.+:secret:fraudflow/dev/.+:\w+::", entry["valueFrom"])
    named = {entry["name"] for _, container in _containers(definitions) for entry in container["secrets"]}
    assert named == {
        "FRAUDFLOW_KAFKA__SASL_USERNAME",
        "FRAUDFLOW_KAFKA__SASL_PASSWORD",
        "FRAUDFLOW_SCORING__CARD_TOKEN_KEY",
        "FRAUDFLOW_DASHBOARD_LOGIN",
        "FRAUDFLOW_DASHBOARD__LINK_KEY",
        "PREFECT_API_AUTH_STRING",
    }


def test_a_secret_is_sent_to_the_secrets_manager_and_nowhere_else(requests: Calls) -> None:
    for service, operation, parameters in requests.requests:
        text = json.dumps(parameters, default=str)
        if service != "secretsmanager":
            assert not any(word in text for word in SECRET_WORDS), operation
        assert not re.search("fraudflow-demo-(link-)?key", text), "the key that everybody knows protects nothing"


def test_no_secret_is_written_down(made: tuple[Stack, Ids, Calls]) -> None:
    stack = made[0]
    home = stack.settings.local.home
    text = "".join(path.read_text() for path in Path(home).rglob("*") if path.is_file())
    assert text, "there is a ledger"
    assert not any(word in text for word in SECRET_WORDS)
    assert not any(word in repr(stack) for word in SECRET_WORDS)


def test_containers_are_locked_down(definitions: dict[str, dict[str, Any]]) -> None:
    for role, container in _containers(definitions):
        user = container["user"].partition(":")[0]
        assert user.isdecimal(), role
        assert int(user) > 0, role
        assert container["readonlyRootFilesystem"] is True
        assert container["privileged"] is False
        assert container["linuxParameters"] == {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"]}}
        assert 60 <= container["stopTimeout"] <= 120
        assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"]), "an image by tag is any image"
        assert container["logConfiguration"]["logDriver"] == "awslogs"
        if role != FLOWS:
            assert container["healthCheck"]["command"][0] == "CMD", "exec form"


def test_nobody_can_get_into_a_container(requests: Calls) -> None:
    assert not any(request["enableExecuteCommand"] for request in requests.of("CreateService", "ecs"))


def test_a_failed_rollout_goes_back(requests: Calls) -> None:
    for request in requests.of("CreateService", "ecs"):
        assert request["deploymentConfiguration"]["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
        assert request["deploymentConfiguration"]["minimumHealthyPercent"] == 100


def test_what_starts_a_task_is_not_what_the_task_may_do(definitions: dict[str, dict[str, Any]]) -> None:
    for role, definition in definitions.items():
        assert definition["taskRoleArn"] != definition["executionRoleArn"]
        assert definition["taskRoleArn"].endswith(f"-{role}")


def test_no_right_by_wildcard(requests: Calls) -> None:
    for role, statements in _policies(requests).items():
        for statement in statements:
            assert statement["Effect"] == "Allow"
            assert not any("*" in action for action in statement["Action"]), role
            if statement["Resource"] == ["*"]:
                assert set(statement["Action"]) <= set(ANY_RESOURCE), f"{role}: {statement['Action']}"
            else:
                for arn in statement["Resource"]:
                    assert "fraudflow" in arn, f"{role}: {arn}"


@pytest.mark.parametrize(
    ("image", "repositories"),
    [
        (None, ["arn:aws:ecr:us-east-1:123456789012:repository/fraudflow-dev"]),
        (
            "999999999999.dkr.ecr.eu-west-1.amazonaws.com/team/fraudflow@sha256:0",
            ["arn:aws:ecr:eu-west-1:999999999999:repository/team/fraudflow"],
        ),
        ("ghcr.io/team/fraudflow@sha256:0", []),
    ],
)
def test_images_are_pulled_from_where_the_settings_say(
    image: str | None, repositories: list[str], tmp_path: Path
) -> None:
    stack = Stack.of(settings_for(tmp_path, image=image, member_image=image))
    (role,) = [step for step in plan.steps(stack) if step.key == "iam role/execution"]
    pulls = [s for s in role.spec({})["statements"] if "ecr:BatchGetImage" in s["Action"]]
    assert [arn for statement in pulls for arn in statement["Resource"]] == repositories


def test_scorers_and_dashboard_may_do_nothing_on_aws(requests: Calls) -> None:
    roles = {request["RoleName"].rpartition("-")[2] for request in requests.of("CreateRole")}
    assert roles - set(_policies(requests)) == {SCORERS, DASHBOARD}


def test_a_scorer_may_read_its_model_and_nothing_else(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    settings.scoring.model, settings.scoring.model_sha256 = "s3://a-bucket/models/fraud.onnx", "0" * 64
    stack = Stack.of(settings)
    (role,) = [step for step in plan.steps(stack) if step.key == f"iam role/{SCORERS}"]
    (statement,) = role.spec({})["statements"]
    assert (statement["Action"], statement["Resource"]) == (
        ["s3:GetObject"],
        ["arn:aws:s3:::a-bucket/models/fraud.onnx"],
    )
    (flows,) = [step for step in plan.steps(stack) if step.key == f"iam role/{FLOWS}"]
    assert statement in flows.spec({})["statements"], "who watches models looks at it too"
    environment = containers.environment(stack, SCORERS)
    assert environment["FRAUDFLOW_SCORING__MODEL"] == settings.scoring.model
    assert environment["FRAUDFLOW_SCORING__MODEL_SHA256"] == "0" * 64


def test_flows_read_files_and_write_none(requests: Calls) -> None:
    actions = {action for statement in _policies(requests)[FLOWS] for action in statement["Action"]}
    assert actions == {"s3:ListBucket", "s3:GetObject"}


def test_roles_are_passed_by_name_to_ecs_alone(requests: Calls) -> None:
    passing = [s for statements in _policies(requests).values() for s in statements if "iam:PassRole" in s["Action"]]
    (statement,) = passing
    assert all(arn.endswith(("-execution", "-flows")) for arn in statement["Resource"])
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}


def test_the_worker_runs_one_definition_in_one_cluster(requests: Calls) -> None:
    (statement,) = [s for s in _policies(requests)[WORKER] if "ecs:RunTask" in s["Action"]]
    assert statement["Resource"][0].endswith(":task-definition/fraudflow-dev-flows:*")
    assert statement["Condition"]["ArnEquals"]["ecs:cluster"].endswith(":cluster/fraudflow-dev")
    actions = {action for s in _policies(requests)[WORKER] for action in s["Action"]}
    assert "ecs:RegisterTaskDefinition" not in actions


def test_the_bucket_is_private_and_speaks_tls(requests: Calls) -> None:
    (block,) = requests.of("PutPublicAccessBlock")
    assert set(block["PublicAccessBlockConfiguration"].values()) == {True}
    (policy,) = requests.of("PutBucketPolicy")
    (statement,) = json.loads(policy["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_logs_end_and_images_do_not_change(requests: Calls) -> None:
    groups = {request["logGroupName"] for request in requests.of("CreateLogGroup")}
    assert {request["logGroupName"] for request in requests.of("PutRetentionPolicy")} == groups
    (repository,) = requests.of("CreateRepository")
    assert repository["imageTagMutability"] == "IMMUTABLE"


def test_everything_carries_the_stack_and_its_end(requests: Calls) -> None:
    untagged = {
        # These take no tags at their creation, or are parts of what has them.
        *("CreateBucket", "CreateRoute"),
    }
    tagged = 0
    for _, operation, parameters in requests.requests:
        if operation.startswith(("Create", "Allocate", "Register", "PutRule")) and operation not in untagged:
            text = json.dumps(parameters)
            assert "fraudflow:stack" in text, operation
            assert "fraudflow:expires" in text, operation
            tagged += 1
    assert tagged > 40
    assert requests.of("PutBucketTagging")


# Prefect (E)


def test_prefect_is_asked_with_a_login_over_tls(definitions: dict[str, dict[str, Any]]) -> None:
    for role in (WORKER, FLOWS):
        (container,) = definitions[role]["containerDefinitions"]
        environment = {entry["name"]: entry["value"] for entry in container["environment"]}
        assert environment["PREFECT_API_URL"].startswith("https://")
        assert "PREFECT_API_AUTH_STRING" in {entry["name"] for entry in container["secrets"]}
        assert not {"PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"} & set(environment)


@pytest.mark.parametrize("kind", ["prefect_api_key", "prefect_auth_string"])
def test_prefects_worker_does_not_hand_its_login_on(kind: str, tmp_path: Path) -> None:
    """Left alone it puts it into each task's environment, where whoever may describe tasks reads it."""
    login = {"prefect_api_key": None, "prefect_auth_string": None} | {kind: SecretStr("a-secret-word")}
    template = base_job_template(Stack.of(settings_for(tmp_path, **login)), ["subnet-1"], "sg-1", "arn-of-the-secret")
    names = {
        "prefect_api_key": "prefect_api_key_secret_arn",
        "prefect_auth_string": "prefect_api_auth_string_secret_arn",
    }
    told = {name: value for name, value in template["job_configuration"].items() if name.endswith("_secret_arn")}
    assert told == {names[kind]: "arn-of-the-secret"}


def test_scorers_and_members_do_not_know_prefect(definitions: dict[str, dict[str, Any]]) -> None:
    for role in (MEMBERS, SCORERS):
        (container,) = definitions[role]["containerDefinitions"]
        assert not [
            e for e in [*container["environment"], *container["secrets"]] if e["name"].startswith("PREFECT_API")
        ]


# The real schemas


def _capitalised(value: Any) -> Any:
    """boto3's spelling of a request as CloudFormation's."""
    if isinstance(value, dict):
        # What is a map of the user's own names keeps them.
        return {
            key[0].upper() + key[1:]: item if key == "options" else _capitalised(item) for key, item in value.items()
        }
    return [_capitalised(item) for item in value] if isinstance(value, list) else value


def _template(requests: Calls) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    for definition in requests.of("RegisterTaskDefinition"):
        name = definition["family"].rpartition("-")[2].capitalize()
        properties = {key: value for key, value in definition.items() if key != "tags"}
        resources[f"Task{name}"] = {"Type": "AWS::ECS::TaskDefinition", "Properties": _capitalised(properties)}
    for policy in requests.of("PutRolePolicy"):
        name = policy["RoleName"].rpartition("-")[2].capitalize()
        resources[f"Policy{name}"] = {
            "Type": "AWS::IAM::RolePolicy",
            "Properties": {**policy, "PolicyDocument": json.loads(policy["PolicyDocument"])},
        }
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


def test_aws_schemas_accept_the_definitions_and_policies(requests: Calls) -> None:
    template = _template(requests)
    assert len(template["Resources"]) == len(ROLES) + 4
    # Errors and warnings: information is for those who write templates.
    assert [str(match) for match in lint_all(json.dumps(template)) if not match.rule.id.startswith("I")] == []


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        (("TaskMembers", "Memory"), "1000", "E3047"),
        (("TaskScorers", "NetworkModus"), "awsvpc", "E3002"),
        (("PolicyWorker", "PolicyDocument", "Statement", 0, "Action", 0), "ecs:RunTusk", "W3037"),
    ],
)
def test_aws_schemas_refuse_a_mistake(requests: Calls, path: tuple[Any, ...], value: str, rule: str) -> None:
    template = _template(requests)
    place = template["Resources"][path[0]]["Properties"]
    for part in path[1:-1]:
        place = place[part]
    place[path[-1]] = value
    assert rule in {match.rule.id for match in lint_all(json.dumps(template))}
