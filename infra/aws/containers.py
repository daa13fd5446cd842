"""What ECS starts: the task definitions. Secrets come by reference, the root is read-only, nobody is root."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from infra.aws.access import role_arn
from infra.aws.discovery import namespace_name
from infra.aws.serve_dashboard import LOGIN as DASHBOARD_LOGIN
from infra.aws.stack import Stack
from infra.local.hazelcast_server import JVM_OPTIONS
from infra.settings import (
    DashboardSettings,
    KafkaSettings,
    MonitorSettings,
    ProjectionSettings,
    ScoringSettings,
    TrainingSettings,
)

MEMBERS, SCORERS, DASHBOARD, WORKER, FLOWS = "members", "scorers", "dashboard", "worker", "flows"
ROLES = (MEMBERS, SCORERS, DASHBOARD, WORKER, FLOWS)
# ECS keeps these at a number; a flow run is started by Prefect's worker.
SERVICES = (MEMBERS, SCORERS, DASHBOARD, WORKER)

HAZELCAST_PORT, DASHBOARD_PORT, WORKER_PORT, METRICS_PORT = 5701, 8501, 8080, 9400
DASHBOARD_HEALTH = "/_stcore/health"
# Prometheus may ask these, if the settings name its network.
METERED = (SCORERS, DASHBOARD)
# Of the Dockerfile's images; a name there would need a file that a read-only root hides from nobody.
USER = "10001:10001"
# CPU units and MiB of memory, one of Fargate's pairs.
SIZES: Mapping[str, tuple[int, int]] = {
    MEMBERS: (1024, 4096),
    SCORERS: (1024, 2048),
    DASHBOARD: (512, 1024),
    WORKER: (512, 1024),
    FLOWS: (1024, 2048),
}
# Seconds between SIGTERM and the kill; Fargate's limit is 120. A member hands its data over in that time, a scorer
# commits its batch, and Prefect gives a flow 30 s to end.
STOP_SECONDS: Mapping[str, int] = {MEMBERS: 120, SCORERS: 60, DASHBOARD: 60, WORKER: 60, FLOWS: 60}
HEARTBEAT_FILE = "/tmp/heartbeat"  # noqa: S108 - the container's own

# Here the projection has nobody else to keep it: there is no `score` flow.
_SCORER = ["python", "-m", "scoring.worker", "--projection", "--heartbeat", HEARTBEAT_FILE]
_WORKER = [
    "python",
    "-m",
    "prefect",
    "worker",
    "start",
    "--type",
    "ecs",
    "--install-policy",
    "never",
    "--with-healthcheck",
]
_DASHBOARD = ["python", "-m", "infra.aws.serve_dashboard", str(DASHBOARD_PORT)]
# The security group decides who reaches what listens here.
_ALL_INTERFACES = "0.0.0.0"  # noqa: S104


def task_definition(stack: Stack, role: str, image: str, secrets: Mapping[str, str], interface: str) -> dict[str, Any]:
    """The arguments of RegisterTaskDefinition.

    Args:
        stack: whose.
        role: one of `ROLES`.
        image: by digest.
        secrets: the ARNs of the stack's secrets, by name.
        interface: the addresses of the VPC, as Hazelcast writes a range.
    """
    cpu, memory = SIZES[role]
    check = _health(role)
    container: dict[str, Any] = {
        # Prefect's worker looks for a container of this name.
        "name": "prefect" if role == FLOWS else role,
        "image": image,
        "essential": True,
        "command": command(stack, role, interface),
        "environment": [{"name": name, "value": value} for name, value in environment(stack, role).items()],
        "secrets": [{"name": name, "valueFrom": where} for name, where in _secrets(stack, role, secrets).items()],
        "user": USER,
        "privileged": False,
        "readonlyRootFilesystem": True,
        "linuxParameters": {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"]}},
        "mountPoints": [{"sourceVolume": "tmp", "containerPath": "/tmp", "readOnly": False}],  # noqa: S108
        "stopTimeout": STOP_SECONDS[role],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": f"{stack.path}{role}",
                "awslogs-region": stack.region,
                "awslogs-stream-prefix": role,
            },
        },
        "memory": memory,
    }
    if check:
        container["healthCheck"] = {"command": check, "interval": 10, "timeout": 5, "retries": 3, "startPeriod": 120}
    ports = _ports(stack, role)
    if ports:
        container["portMappings"] = [{"containerPort": port, "protocol": "tcp"} for port in ports]
    return {
        "family": family(stack, role),
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": str(cpu),
        "memory": str(memory),
        "runtimePlatform": {"cpuArchitecture": stack.settings.aws.cpu_architecture, "operatingSystemFamily": "LINUX"},
        "executionRoleArn": role_arn(stack, "execution"),
        "taskRoleArn": role_arn(stack, role),
        "volumes": [{"name": "tmp"}],
        "containerDefinitions": [container],
    }


def _ports(stack: Stack, role: str) -> list[int]:
    ports = {MEMBERS: [HAZELCAST_PORT], DASHBOARD: [DASHBOARD_PORT]}.get(role, [])
    return ports + ([METRICS_PORT] if role in METERED and stack.settings.aws.metrics_cidrs else [])


def family(stack: Stack, role: str) -> str:
    """The family of a role's task definitions."""
    return f"{stack.prefix}-{role}"


def work_pool(stack: Stack) -> str:
    """The work pool of the flows that run in the VPC."""
    return f"ecs-{stack.name}"


def command(stack: Stack, role: str, interface: str) -> list[str]:
    """What is executed, without a shell: SIGTERM reaches it."""
    if role == MEMBERS:
        return _member(stack, interface)
    if role == SCORERS:
        return _SCORER
    if role == DASHBOARD:
        return _DASHBOARD
    if role == WORKER:
        return [*_WORKER, "--pool", work_pool(stack), "--name", f"{stack.prefix}-worker"]
    return ["prefect", "flow-run", "execute"]


def _member(stack: Stack, interface: str) -> list[str]:
    projection, aws = stack.settings.projection, stack.settings.aws
    properties = {
        "hazelcast.config": "/opt/hazelcast/hazelcast.yaml",
        "hazelcast.shutdownhook.policy": "GRACEFUL",
        "hazelcast.graceful.shutdown.max.wait": STOP_SECONDS[MEMBERS] - 10,
        "fraudflow.cluster.name": stack.settings.hazelcast.cluster_name,
        "fraudflow.port": HAZELCAST_PORT,
        "fraudflow.interface": interface,
        "fraudflow.aws.enabled": "true",
        "fraudflow.aws.region": aws.region,
        "fraudflow.aws.cluster": stack.prefix,
        "fraudflow.aws.family": family(stack, MEMBERS),
        "fraudflow.projection.ttl": projection.ttl_seconds,
        "fraudflow.projection.max.entries": projection.max_entries,
    }
    return [
        "java",
        # Of 4 GB: the rest is for metaspace, threads and network buffers.
        "-XX:MaxRAMPercentage=70",
        *JVM_OPTIONS,
        *(f"-D{name}={value}" for name, value in properties.items()),
        "-cp",
        "/opt/hazelcast/lib/*",
        "com.hazelcast.core.server.HazelcastMemberStarter",
    ]


def _health(role: str) -> list[str] | None:
    """What ECS runs in the container to know whether it is well; a flow run's state is Prefect's to tell."""
    if role == MEMBERS:
        # REST is off, so the port itself is asked.
        return ["CMD", "bash", "-c", f"exec 3<>/dev/tcp/$(hostname -i | cut -d' ' -f1)/{HAZELCAST_PORT}"]
    if role == SCORERS:
        # Touched once a second, between batches; a scorer that hangs does not touch it.
        return ["CMD", "python", "-m", "scoring.heartbeat", HEARTBEAT_FILE]
    paths = {DASHBOARD: f"{DASHBOARD_PORT}{DASHBOARD_HEALTH}", WORKER: f"{WORKER_PORT}/health"}
    if role not in paths:
        return None
    ask = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{paths[role]}', timeout=4)"
    return ["CMD", "python", "-c", ask]


def environment(stack: Stack, role: str) -> dict[str, str]:
    """What may be read by whoever may describe a task definition: no secret."""
    if role == MEMBERS:
        return {}
    variables = {"FRAUDFLOW_LOCAL__HOME": "/tmp/fraudflow", "PREFECT_HOME": "/tmp/prefect"}  # noqa: S108
    if role == WORKER:
        variables["PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME"] = f"{stack.prefix}-task-events"
        variables["AWS_DEFAULT_REGION"] = stack.region
    if role in {WORKER, FLOWS}:
        variables |= {"PREFECT_API_URL": prefect_api_url(stack), "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    if role != WORKER:
        variables |= _settings(stack, role)
    if role == FLOWS:
        # Prefect's default is pickle: whoever can write a result could run code here.
        variables["PREFECT_RESULTS_DEFAULT_SERIALIZER"] = "json"
    if role in {SCORERS, FLOWS}:
        variables["FRAUDFLOW_AWS__REGION"] = stack.region
    if role == DASHBOARD:
        variables["FRAUDFLOW_DASHBOARD__ADDRESS"] = _ALL_INTERFACES
        if stack.settings.aws.dashboard_url:
            variables["FRAUDFLOW_DASHBOARD_URL"] = stack.settings.aws.dashboard_url
    if stack.settings.aws.metrics_cidrs:
        variables |= _METRICS.get(role, {})
    return dict(sorted(variables.items()))


_METRICS: Mapping[str, Mapping[str, str]] = {
    SCORERS: {
        "FRAUDFLOW_SCORING__HEALTH_ADDRESS": _ALL_INTERFACES,
        "FRAUDFLOW_SCORING__HEALTH_PORT": str(METRICS_PORT),
    },
    DASHBOARD: {"FRAUDFLOW_DASHBOARD__METRICS_PORT": str(METRICS_PORT)},
}


def prefect_api_url(stack: Stack) -> str:
    """Prefect as the tasks reach it."""
    return stack.settings.aws.prefect_api_url or stack.settings.prefect_api_url or ""


def _settings(stack: Stack, role: str) -> dict[str, str]:
    """The settings that the role reads and that differ from their defaults, without secrets and this machine's files.

    What a role does not read would roll its service when it changes.
    """
    settings = stack.settings
    sections: dict[str, tuple[BaseModel, BaseModel]] = {
        "kafka": (settings.kafka, KafkaSettings.model_construct()),
        "projection": (settings.projection, ProjectionSettings.model_construct()),
        "scoring": (settings.scoring, ScoringSettings.model_construct()),
        "dashboard": (settings.dashboard, DashboardSettings.model_construct()),
    }
    if role == FLOWS:
        sections["training"] = settings.training, TrainingSettings.model_construct()
        sections["monitor"] = settings.monitor, MonitorSettings.model_construct()
    variables = {
        "FRAUDFLOW_HAZELCAST__MEMBERS": f'["{MEMBERS}.{namespace_name(stack)}:{HAZELCAST_PORT}"]',
        "FRAUDFLOW_HAZELCAST__CLUSTER_NAME": settings.hazelcast.cluster_name,
    }
    for section, (present, usual) in sections.items():
        for name in type(present).model_fields:
            value = getattr(present, name)
            if name in _NOT_IN_A_CONTAINER or isinstance(value, SecretStr) or value == getattr(usual, name):
                continue
            text = value.model_dump_json() if isinstance(value, BaseModel) else str(value)
            variables[f"FRAUDFLOW_{section}__{name}".upper()] = text
    return variables


# The user name is half of a login, and so may be a part of the registry's address; files, interfaces and ports are this
# machine's. Nothing is trained on ECS, but whoever watches a model judges it as it was judged before.
_NOT_IN_A_CONTAINER = {
    "sasl_username",
    "processes",
    "health_address",
    "health_port",
    "address",
    "secrets",
    "metrics_port",
    "tracking_uri",
    "artifact_location",
    "model_name",
    "search_seconds",
    "threads",
}


def _secrets(stack: Stack, role: str, arns: Mapping[str, str]) -> dict[str, str]:
    """Variable by `ARN:key::` of the secret that ECS puts into it."""
    found = {}
    if role in {SCORERS, DASHBOARD, FLOWS} and "kafka" in arns:
        found["FRAUDFLOW_KAFKA__SASL_USERNAME"] = f"{arns['kafka']}:username::"
        found["FRAUDFLOW_KAFKA__SASL_PASSWORD"] = f"{arns['kafka']}:password::"
    if role in {SCORERS, FLOWS}:
        found["FRAUDFLOW_SCORING__CARD_TOKEN_KEY"] = f"{arns['card-token']}:key::"
    if role == DASHBOARD:
        found["FRAUDFLOW_DASHBOARD__LINK_KEY"] = f"{arns['link']}:key::"
        if "dashboard" in arns:
            found[DASHBOARD_LOGIN] = f"{arns['dashboard']}:toml::"
    if role in {WORKER, FLOWS} and "prefect" in arns:
        variable = "PREFECT_API_KEY" if stack.settings.aws.prefect_api_key else "PREFECT_API_AUTH_STRING"
        found[variable] = f"{arns['prefect']}:login::"
    return found


def kafka_ports(stack: Stack) -> list[int]:
    """The ports of the brokers."""
    servers = (stack.settings.kafka.bootstrap_servers or "").split(",")
    return sorted({int(server.rpartition(":")[2]) for server in servers if ":" in server})


def prefect_port(stack: Stack) -> int:
    """The port of Prefect's API."""
    return urlsplit(prefect_api_url(stack)).port or 443
