"""What a stack consists of, in the order in which it is made. Each step is one call of a kind's `ensure`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.aws import containers
from infra.aws.access import (
    Statement,
    cluster_arn,
    execution_statements,
    flow_statements,
    member_statements,
    scorer_statements,
    worker_statements,
)
from infra.aws.client import explaining, unless_missing
from infra.aws.containers import DASHBOARD, FLOWS, MEMBERS, METERED, ROLES, SCORERS, SERVICES, WORKER
from infra.aws.messaging import queue_arn, rule_name
from infra.aws.network import EVERYWHERE, Rule, interface_pattern, subnet_cidrs
from infra.aws.resource import Spec
from infra.aws.stack import Stack
from infra.aws.storage import bucket_name
from infra.errors import TerminalError
from infra.settings import DashboardSettings, ScoringSettings

# The id of what was made so far, by "kind/name".
Ids = Mapping[str, str]
_HTTPS = 443
# The load balancer has a security group as the roles have.
BALANCER = "balancer"


@dataclass(frozen=True)
class Step:
    """One resource. Its specification may need the ids of those before it."""

    kind: str
    name: str
    spec: Callable[[Ids], Spec]

    @property
    def key(self) -> str:
        """Its key in `Ids`."""
        return f"{self.kind}/{self.name}"


def steps(stack: Stack) -> list[Step]:
    """Every resource of the stack, each after those it needs."""
    plan = [] if stack.settings.aws.vpc_id else _network(stack)
    plan += _groups(stack) + _access(stack) + _storage(stack) + _names(stack) + _door(stack) + _cluster(stack)
    if stack.settings.aws.budget_email:
        aws = stack.settings.aws
        plan.insert(0, Step("budget", "cost", lambda _: {"usd": aws.budget_usd, "email": aws.budget_email}))
    return plan


def image(stack: Stack, role: str) -> str:
    """The image of a role, by digest: what is pushed later under the same tag is another image.

    Raises:
        TerminalError: nobody has pushed it yet.
    """
    aws = stack.settings.aws
    named = aws.member_image if role == MEMBERS else aws.image
    if named:
        return named
    target = "member" if role == MEMBERS else "app"
    tag = f"{target}-{aws.image_tag}"
    registry = f"{stack.account}.dkr.ecr.{stack.region}.amazonaws.com"
    ask, wanted = stack.api("ecr").describe_images, {"repositoryName": stack.prefix, "imageIds": [{"imageTag": tag}]}
    found = unless_missing(lambda: ask(**wanted)["imageDetails"][0]["imageDigest"], "ImageNotFoundException")
    if found is None:
        platform = "linux/arm64" if aws.cpu_architecture == "ARM64" else "linux/amd64"
        name = f"{registry}/{stack.prefix}:{tag}"
        raise TerminalError(
            f"the image {tag} is not in the stack's repository. Push it, then provision again:\n"
            f"  aws ecr get-login-password --region {stack.region} | "
            f"docker login --username AWS --password-stdin {registry}\n"
            f"  docker build --platform {platform} --target {target} --tag {name} . && docker push {name}"
        )
    return f"{registry}/{stack.prefix}@{found}"


def _network(stack: Stack) -> list[Step]:
    aws = stack.settings.aws
    # Each has its own place, however many zones there are: a subnet that is there keeps its addresses.
    public, first, middle, last, second = subnet_cidrs(aws.vpc_cidr, 5)
    names, private = _private(aws.zones), (first, middle, last)[: aws.zones]
    plan = [
        Step("vpc", "main", lambda _: {"cidr": aws.vpc_cidr}),
        Step("internet gateway", "main", lambda ids: {"vpc": ids["vpc/main"]}),
        Step("subnet", "public", lambda ids: {"vpc": ids["vpc/main"], "cidr": public, "zone": 0}),
    ]
    for zone, (name, cidr) in enumerate(zip(names, private, strict=True)):
        plan.append(Step("subnet", name, lambda ids, c=cidr, z=zone: {"vpc": ids["vpc/main"], "cidr": c, "zone": z}))
    if opened(stack):
        # A load balancer stands in two zones at least.
        plan.append(Step("subnet", "public-2", lambda ids: {"vpc": ids["vpc/main"], "cidr": second, "zone": 1}))
    return [
        *plan,
        Step("elastic ip", "out", lambda _: {}),
        Step(
            "nat gateway",
            "out",
            lambda ids: {"subnet": ids["subnet/public"], "address": ids["elastic ip/out"]},
        ),
        Step(
            "route table",
            "public",
            lambda ids: {
                "vpc": ids["vpc/main"],
                "gateway": ids["internet gateway/main"],
                "subnets": _public(stack, ids),
            },
        ),
        Step(
            "route table",
            "private",
            lambda ids: {
                "vpc": ids["vpc/main"],
                "nat": ids["nat gateway/out"],
                "subnets": [ids[f"subnet/{name}"] for name in names],
            },
        ),
        Step(
            "s3 endpoint",
            "s3",
            lambda ids: {"vpc": ids["vpc/main"], "route_tables": [ids["route table/private"]]},
        ),
    ]


_PURPOSES = {
    MEMBERS: "Hazelcast members: reached by members, scorers, flows and the dashboard",
    SCORERS: "Scorers: reached by nobody",
    DASHBOARD: "Dashboard: reached by the load balancer",
    WORKER: "Prefect worker: reached by nobody",
    FLOWS: "Prefect flow runs: reached by nobody",
    BALANCER: "Load balancer: reached from the addresses that the settings name",
}


def _groups(stack: Stack) -> list[Step]:
    named = (*ROLES, BALANCER) if opened(stack) else ROLES
    groups = [
        Step("security group", role, lambda ids, r=role: {"vpc": _vpc(stack, ids), "purpose": _PURPOSES[r]})
        for role in named
    ]
    rules = [
        Step(
            "security rules",
            role,
            lambda ids, r=role: {
                "group": ids[f"security group/{r}"],
                "ingress": _ingress(stack, ids, r),
                "egress": _egress(stack, ids, r),
            },
        )
        for role in named
    ]
    return groups + rules


def _ingress(stack: Stack, ids: Ids, role: str) -> list[Rule]:
    aws = stack.settings.aws
    rules: list[Rule] = []
    if role == MEMBERS:
        port = containers.HAZELCAST_PORT
        rules += [("tcp", port, ids[f"security group/{r}"]) for r in (MEMBERS, SCORERS, FLOWS, DASHBOARD)]
    if role == BALANCER:
        rules += [("tcp", _HTTPS, cidr) for cidr in aws.dashboard_cidrs]
    if role == DASHBOARD and opened(stack):
        rules.append(("tcp", containers.DASHBOARD_PORT, ids[f"security group/{BALANCER}"]))
    if role in METERED:
        rules += [("tcp", containers.METRICS_PORT, cidr) for cidr in aws.metrics_cidrs]
    return rules


def _egress(stack: Stack, ids: Ids, role: str) -> list[Rule]:
    """To the members, to AWS (HTTPS), to Kafka and to Prefect: addresses of others that nobody knows beforehand."""
    if role == BALANCER:
        return [("tcp", containers.DASHBOARD_PORT, ids[f"security group/{DASHBOARD}"])]
    ports = {_HTTPS}
    if role != WORKER:
        ports |= set(containers.kafka_ports(stack))
    if role in {WORKER, FLOWS}:
        ports.add(containers.prefect_port(stack))
    rules: list[Rule] = [("tcp", port, EVERYWHERE) for port in sorted(ports)]
    if role != WORKER:
        rules.append(("tcp", containers.HAZELCAST_PORT, ids[f"security group/{MEMBERS}"]))
    return rules


_ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com[^/]*/(?P<name>[^@:]+)")


def _repositories(stack: Stack) -> list[str]:
    """The ARNs of the repositories on ECR that images are pulled from; other registries ask IAM for nothing."""
    aws, arns = stack.settings.aws, set()
    for named in (aws.image, aws.member_image):
        if named is None:
            arns.add(stack.arn("ecr", f"repository/{stack.prefix}"))
        elif found := _ECR.match(named):
            arns.add(f"arn:{stack.partition}:ecr:{found['region']}:{found['account']}:repository/{found['name']}")
    return sorted(arns)


def _access(stack: Stack) -> list[Step]:
    secrets = [stack.arn("secretsmanager", f"secret:fraudflow/{stack.name}/*")]
    statements: dict[str, list[Statement]] = {
        "execution": execution_statements(stack, _repositories(stack), secrets),
        MEMBERS: member_statements(stack),
        SCORERS: scorer_statements(stack, stack.settings.scoring.model),
        DASHBOARD: [],
        WORKER: worker_statements(stack, containers.family(stack, FLOWS), queue_arn(stack)),
        # Whoever watches models looks at the scorers' own.
        FLOWS: flow_statements(stack, bucket_name(stack)) + scorer_statements(stack, stack.settings.scoring.model),
    }
    return [
        Step("iam role", name, lambda _, granted=granted: {"statements": granted})
        for name, granted in statements.items()
    ]


def _storage(stack: Stack) -> list[Step]:
    aws = stack.settings.aws
    plan = [Step("log group", role, lambda _: {"days": aws.log_retention_days}) for role in ROLES]
    plan += [Step("bucket", "files", lambda _: {}), Step("image repository", "images", lambda _: {})]
    return plan + [Step("secret", name, lambda _, s=spec: s) for name, spec in _secrets(stack).items()]


def _secrets(stack: Stack) -> dict[str, Spec]:
    """The specification of each secret, by name."""
    aws, kafka, settings = stack.settings.aws, stack.settings.kafka, stack.settings
    secrets: dict[str, Spec] = {}
    if kafka.sasl_password:
        login = {"username": kafka.sasl_username, "password": kafka.sasl_password.get_secret_value()}
        secrets["kafka"] = {"value": login}
    prefect = aws.prefect_api_key or aws.prefect_auth_string
    if prefect:
        secrets["prefect"] = {"value": {"login": prefect.get_secret_value()}}
    # The defaults are known to everybody, so in their place keys are made up that nobody knows.
    token, link = settings.scoring.card_token_key, settings.dashboard.link_key
    for name, key, known in (
        ("card-token", token, ScoringSettings.model_fields["card_token_key"].default),
        ("link", link, DashboardSettings.model_fields["link_key"].default),
    ):
        secrets[name] = {"made_up": "key"} if key == known else {"value": {"key": key.get_secret_value()}}
    if opened(stack) and settings.dashboard.secrets:
        secrets["dashboard"] = {"value": {"toml": settings.dashboard.secrets.expanduser().read_text()}}
    return secrets


def _names(stack: Stack) -> list[Step]:
    """The names by which others find the tasks of a service."""
    return [
        Step("dns namespace", "dns", lambda ids: {"vpc": _vpc(stack, ids)}),
        *(
            Step("dns service", role, lambda ids: {"namespace": ids["dns namespace/dns"]})
            for role in SERVICES
            if _found_by_name(stack, role)
        ),
    ]


def _found_by_name(stack: Stack, role: str) -> bool:
    return role == MEMBERS or (role in METERED and bool(stack.settings.aws.metrics_cidrs))


def opened(stack: Stack) -> bool:
    """Whether the settings let anybody come to the dashboard."""
    return bool(stack.settings.aws.dashboard_cidrs)


def _door(stack: Stack) -> list[Step]:
    aws = stack.settings.aws
    if not opened(stack):
        return []
    return [
        Step(
            "target group",
            DASHBOARD,
            lambda ids: {
                "vpc": _vpc(stack, ids),
                "port": containers.DASHBOARD_PORT,
                "health": containers.DASHBOARD_HEALTH,
            },
        ),
        Step(
            "load balancer",
            DASHBOARD,
            lambda ids: {
                "subnets": aws.subnet_ids or _public(stack, ids),
                "group": ids[f"security group/{BALANCER}"],
                "public": not aws.vpc_id,
            },
        ),
        Step(
            "listener",
            DASHBOARD,
            lambda ids: {
                "balancer": ids[f"load balancer/{DASHBOARD}"],
                "target_group": ids[f"target group/{DASHBOARD}"],
                "certificate": aws.dashboard_certificate_arn,
            },
        ),
    ]


def _cluster(stack: Stack) -> list[Step]:
    aws = stack.settings.aws
    counts = {MEMBERS: aws.members, SCORERS: aws.scorers, DASHBOARD: 1, WORKER: 1}
    return [
        Step("ecs cluster", "cluster", lambda _: {}),
        Step("event rule", "task-events", lambda _: {"cluster": cluster_arn(stack), "queue": queue_arn(stack)}),
        Step("queue", "task-events", lambda _: {"rule": stack.arn("events", f"rule/{rule_name(stack)}")}),
        *(
            Step("task definition", role, lambda ids, r=role: {"definition": definition(stack, ids, r)})
            for role in ROLES
        ),
        *(Step("ecs service", role, lambda ids, r=role: _service(stack, ids, r, counts[r])) for role in SERVICES),
    ]


def definition(stack: Stack, ids: Ids, role: str) -> dict[str, Any]:
    """The task definition of a role."""
    arns = {name: ids[f"secret/{name}"] for name in _secrets(stack)}
    return containers.task_definition(stack, role, image(stack, role), arns, interface_pattern(_cidr(stack)))


def _service(stack: Stack, ids: Ids, role: str, count: int) -> Spec:
    spec = {
        "cluster": ids["ecs cluster/cluster"],
        "count": count,
        "scaled": role == SCORERS,
        "family": ids[f"task definition/{role}"],
        "subnets": private_subnets(stack, ids),
        "groups": [ids[f"security group/{role}"]],
    }
    if _found_by_name(stack, role):
        spec["registry"] = stack.arn("servicediscovery", f"service/{ids[f'dns service/{role}']}")
    if role == DASHBOARD and opened(stack):
        spec["target_group"] = ids[f"target group/{role}"]
        spec["port"] = containers.DASHBOARD_PORT
    return spec


def private_subnets(stack: Stack, ids: Ids) -> list[str]:
    """Where tasks run."""
    aws = stack.settings.aws
    return aws.subnet_ids or [ids[f"subnet/{name}"] for name in _private(aws.zones)]


def _public(stack: Stack, ids: Ids) -> list[str]:
    return [ids[f"subnet/{name}"] for name in (("public", "public-2") if opened(stack) else ("public",))]


def _private(zones: int) -> list[str]:
    return [f"private-{number}" for number in range(1, zones + 1)]


def _vpc(stack: Stack, ids: Ids) -> str:
    return stack.settings.aws.vpc_id or ids["vpc/main"]


def _cidr(stack: Stack) -> str:
    aws = stack.settings.aws
    if not aws.vpc_id:
        return aws.vpc_cidr
    with explaining(f"describe {aws.vpc_id}"):
        return stack.api("ec2").describe_vpcs(VpcIds=[aws.vpc_id])["Vpcs"][0]["CidrBlock"]
