"""Simulated AWS, a stack's settings for it, and a record of what was asked of it. No real account can be reached."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from infra.aws import client, plan, stack
from infra.aws.kinds import KINDS, kind
from infra.aws.resource import Kind
from infra.aws.settings import AwsSettings
from infra.aws.stack import Stack
from infra.errors import FraudflowError
from infra.local import stack as local_stack
from infra.settings import DashboardSettings, KafkaSettings, LocalSettings, Settings, get_settings
from tests.conftest import PROJECT, environment, reporting_to, running

REGION = "us-east-1"
DIGEST = "sha256:" + "0123456789abcdef" * 4
SECRET_WORDS = ("kafka-secret-word", "prefect-secret-word", "dashboard-secret-word")
LOGIN_FILE = Path(__file__).with_name("login.toml")
_READS = ("Describe", "Get", "Head", "List")


@pytest.fixture(scope="package", autouse=True)
def moto() -> Iterator[str]:
    """The address of simulated AWS, another process; no test here can reach any other, nor has it credentials."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.aws.moto"],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdin
    assert server.stdout
    address = server.stdout.readline().strip()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_SESSION_TOKEN", "testing")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield address
    client.api.cache_clear()
    client.session.cache_clear()
    stack._account.cache_clear()
    server.stdin.close()
    server.wait(30)
    server.stdout.close()


class Calls:
    """What was asked of AWS, in order, and where to fail on purpose."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self._failure: Callable[[str, dict[str, Any]], ClientError | None] = lambda *_: None

    def clear(self) -> None:
        self.requests.clear()
        self.heal()

    def record(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        failure = self._failure(model.name, params)
        if failure:
            raise failure
        self.requests.append((model.service_model.service_name, model.name, copy.deepcopy(params)))

    def names(self) -> list[str]:
        return [name for _, name, _ in self.requests]

    def of(self, operation: str, service: str | None = None) -> list[dict[str, Any]]:
        return [p for where, name, p in self.requests if name == operation and service in {None, where}]

    def writes(self) -> list[str]:
        return [name for name in self.names() if not name.startswith(_READS)]

    def fail(self, operation: str, code: str, message: str = "on purpose", **condition: Any) -> None:
        """From now on that operation fails, if its parameters have these values."""
        error = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}

        def failure(name: str, params: dict[str, Any]) -> ClientError | None:
            meant = name == operation and all(params.get(key) == value for key, value in condition.items())
            return ClientError(error, name) if meant else None  # type: ignore[arg-type]

        self._failure = failure

    def heal(self) -> None:
        self._failure = lambda *_: None


@pytest.fixture(scope="package", autouse=True)
def calls(moto: str) -> Calls:
    """The record. Clients are made once, so every test has the hook: it must be there before the first of them."""
    recorded = Calls()
    client.session(REGION).events.register("provide-client-params", recorded.record)
    return recorded


def reset(moto: str, calls: Calls) -> None:
    """Simulated AWS with nothing in it but the certificate that the user brings."""
    httpx.post(f"{moto}/moto-api/reset", timeout=30).raise_for_status()
    # Of IAM's kind, which unlike ACM's has an ARN that is known beforehand; a load balancer takes both.
    boto3.client("iam", REGION).upload_server_certificate(
        ServerCertificateName="fraud.example.com", CertificateBody="certificate", PrivateKey="key"
    )
    calls.clear()


@pytest.fixture
def aws(moto: str, calls: Calls) -> Calls:
    """Simulated AWS, empty, and everything that is asked of it."""
    reset(moto, calls)
    return calls


def settings_for(home: Path, **changes: Any) -> Settings:
    """Settings that do for ECS: Confluent Cloud and a Prefect with login; images that somebody has pushed."""
    aws = {
        "image": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/fraudflow@{DIGEST}",
        "member_image": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/fraudflow-member@{DIGEST}",
        "prefect_api_url": "https://prefect.example.com/api",
        "prefect_auth_string": SecretStr("admin:prefect-secret-word"),
        "budget_email": "owner@example.com",
        "dashboard_cidrs": ["10.99.0.0/16"],
        "dashboard_url": "https://fraud.example.com",
        "dashboard_certificate_arn": "arn:aws:iam::123456789012:server-certificate/fraud.example.com",
        "metrics_cidrs": ["10.20.240.0/20"],
        "poll_seconds": 0.02,
        "healthy_timeout_seconds": 20,
        "gone_timeout_seconds": 3,
    }
    return Settings(
        local=LocalSettings(home=home),
        kafka=KafkaSettings(
            bootstrap_servers="broker-1.example.com:9092,broker-2.example.com:9092",
            security_protocol="SASL_SSL",
            sasl_mechanism="PLAIN",
            sasl_username="kafka-key-name",
            sasl_password=SecretStr("kafka-secret-word"),
            replication_factor=3,
        ),
        dashboard=DashboardSettings(secrets=LOGIN_FILE),
        aws=AwsSettings(**aws | changes),
    )


@pytest.fixture
def ecs_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings for a stack, which `get_settings()` gives too."""
    settings = settings_for(tmp_path / "home")
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield settings
    get_settings.cache_clear()


TEARDOWN = tuple(reversed(KINDS))


class Ids(dict[str, str]):
    """Makes what is asked for, and before it what that needs: a part of a stack is quicker than the whole."""

    def __init__(self, stack: Stack):
        super().__init__()
        self._stack = stack
        self._steps = {step.key: step for step in plan.steps(stack)}

    def __missing__(self, key: str) -> str:
        step = self._steps[key]
        self[key] = kind(step.kind).ensure(self._stack, step.name, step.spec(self)).id
        return self[key]

    def all(self) -> "Ids":
        for key in self._steps:
            self[key]
        return self


def take_down(stack: Stack, kinds: Sequence[Kind] = TEARDOWN, but: Sequence[str] = ()) -> list[str]:
    """Remove kind after kind, as the teardown does; what it was told by those that did not go."""
    failures = []
    for each in kinds:
        if each.name in but:
            continue
        try:
            for resource in each.find(stack):
                each.remove(stack, resource)
        except FraudflowError as error:
            failures.append(str(error))
    return failures


@pytest.fixture(scope="package")
def prefect_home(moto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real Prefect server with a worker and the deployments of prefect.yaml, as `fraudflow up` makes them.

    The worker has the settings of `settings_for` with this home, and simulated AWS.
    """
    home = tmp_path_factory.mktemp("prefect")
    with ExitStack() as held:
        with pytest.MonkeyPatch.context() as patch:
            # For the worker that starts here, and for nobody else in these tests.
            for name, value in environment(settings_for(home)).items():
                patch.setenv(name, value)
            settings = held.enter_context(running(home, {local_stack.PREFECT, local_stack.WORKER}))
        held.enter_context(reporting_to(str(settings.prefect_api_url)))
        yield home
