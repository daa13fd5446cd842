"""IAM roles of the tasks: no action by wildcard, and every resource named where IAM can name it."""

import json
from typing import Any

from infra.aws.client import unless_missing
from infra.aws.resource import Kind, Resource, Spec, tag_map
from infra.aws.stack import Stack
from infra.s3 import is_s3, split

POLICY = "fraudflow"
Statement = dict[str, Any]


class Role(Kind):
    """A role that ECS tasks take on, with one inline policy. Spec: statements; none gives a role without rights."""

    name = "iam role"
    arn_types = ("iam:role",)

    def find(self, stack: Stack) -> list[Resource]:
        roles = stack.pages("iam", "list_roles", "Roles", PathPrefix=stack.path)
        prefix = role_name(stack, "")
        # A stack of the same name in another region has the same path, and the same tag.
        return [
            self._resource(stack, role["RoleName"].removeprefix(prefix), role["RoleName"], self._tags(stack, role))
            for role in roles
            if role["RoleName"].startswith(prefix)
        ]

    def _tags(self, stack: Stack, role: Any) -> dict[str, str]:
        return tag_map(stack.api("iam").list_role_tags(RoleName=role["RoleName"])["Tags"])

    def exists(self, stack: Stack, ref: str) -> bool:
        return unless_missing(lambda: stack.api("iam").get_role(RoleName=ref), "NoSuchEntity") is not None

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        return stack.api("iam").create_role(
            Path=stack.path,
            RoleName=role_name(stack, name),
            AssumeRolePolicyDocument=json.dumps(trust(stack)),
            Tags=stack.tag_list(name),
        )["Role"]["RoleName"]

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        iam = stack.api("iam")
        wanted = {"Version": "2012-10-17", "Statement": spec["statements"]} if spec["statements"] else None
        if self._policy(stack, ref) == wanted:
            return False
        if wanted:
            iam.put_role_policy(RoleName=ref, PolicyName=POLICY, PolicyDocument=json.dumps(wanted))
        else:
            iam.delete_role_policy(RoleName=ref, PolicyName=POLICY)
        return True

    def _policy(self, stack: Stack, ref: str) -> Any:
        ask = stack.api("iam").get_role_policy
        return unless_missing(lambda: ask(RoleName=ref, PolicyName=POLICY)["PolicyDocument"], "NoSuchEntity")

    def delete(self, stack: Stack, resource: Resource) -> None:
        iam, role = stack.api("iam"), resource.id
        if not self.exists(stack, role):
            return
        for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            iam.delete_role_policy(RoleName=role, PolicyName=policy)
        for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=role, PolicyArn=policy["PolicyArn"])
        iam.delete_role(RoleName=role)


def role_name(stack: Stack, name: str) -> str:
    """A role's name; roles are global in an account, so the region is a part of it."""
    return f"{stack.prefix}-{stack.region}-{name}"


def role_arn(stack: Stack, name: str) -> str:
    """A role's ARN, known before the role is there."""
    return stack.arn("iam", f"role{stack.path}{role_name(stack, name)}", regional=False)


def trust(stack: Stack) -> dict[str, Any]:
    """Who may take on a role: ECS tasks of this account."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": stack.account}},
            }
        ],
    }


def execution_statements(stack: Stack, repositories: list[str], secrets: list[str]) -> list[Statement]:
    """What ECS itself needs to start a task: pull the image, read its secrets, write its log."""
    pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    return [
        # IAM knows no resource for the registry's login.
        *([_allow(["ecr:GetAuthorizationToken"], ["*"]), _allow(pull, repositories)] if repositories else []),
        _allow(["secretsmanager:GetSecretValue"], secrets),
        _allow(["logs:CreateLogStream", "logs:PutLogEvents"], [stack.arn("logs", f"log-group:{stack.path}*")]),
    ]


def member_statements(stack: Stack) -> list[Statement]:
    """What a Hazelcast member needs to find the others: look at the tasks of its own cluster."""
    return [
        # IAM knows no resource for listing tasks; the condition is its cluster.
        _allow(["ecs:ListTasks"], ["*"], ArnEquals={"ecs:cluster": cluster_arn(stack)}),
        _allow(["ecs:DescribeTasks"], [stack.arn("ecs", f"task/{stack.prefix}/*")]),
    ]


def flow_statements(stack: Stack, bucket: str) -> list[Statement]:
    """What a flow run needs: to read the files in the stack's bucket."""
    return [
        # S3 answers "not there" only to those who may list; to others, "denied".
        _allow(["s3:ListBucket"], [f"arn:{stack.partition}:s3:::{bucket}"]),
        _allow(["s3:GetObject"], [f"arn:{stack.partition}:s3:::{bucket}/*"]),
    ]


def scorer_statements(stack: Stack, model: str | None) -> list[Statement]:
    """What a scorer needs: its model, if that is in S3, and nothing else."""
    if model is None or not is_s3(model):
        return []
    bucket, key = split(model)
    return [_allow(["s3:GetObject"], [f"arn:{stack.partition}:s3:::{bucket}/{key}"])]


def worker_statements(stack: Stack, family: str, queue: str) -> list[Statement]:
    """What Prefect's worker needs: to run one task definition in one cluster, and to hear what became of it."""
    in_cluster = {"ArnEquals": {"ecs:cluster": cluster_arn(stack)}}
    return [
        _allow(["ecs:RunTask"], [stack.arn("ecs", f"task-definition/{family}:*")], **in_cluster),
        _allow(["ecs:DescribeTasks", "ecs:StopTask"], [stack.arn("ecs", f"task/{stack.prefix}/*")]),
        _allow(
            ["ecs:TagResource"],
            [stack.arn("ecs", f"task/{stack.prefix}/*")],
            StringEquals={"ecs:CreateAction": "RunTask"},
        ),
        # IAM knows no resource for describing a task definition.
        _allow(["ecs:DescribeTaskDefinition"], ["*"]),
        _allow(
            ["iam:PassRole"],
            [role_arn(stack, "execution"), role_arn(stack, "flows")],
            StringEquals={"iam:PassedToService": "ecs-tasks.amazonaws.com"},
        ),
        _allow(
            ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"],
            [queue],
        ),
        _allow(["logs:GetLogEvents"], [stack.arn("logs", f"log-group:{stack.path}flows:*")]),
    ]


def cluster_arn(stack: Stack) -> str:
    """The ECS cluster's ARN, known before it is there."""
    return stack.arn("ecs", f"cluster/{stack.prefix}")


def _allow(actions: list[str], resources: list[str], **conditions: dict[str, str]) -> Statement:
    statement: Statement = {"Effect": "Allow", "Action": actions, "Resource": resources}
    return statement | ({"Condition": conditions} if conditions else {})
