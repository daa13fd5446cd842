"""The settings of the stack on AWS: `FRAUDFLOW_AWS__...`, a part of `infra.settings`."""

import re
from ipaddress import ip_network
from typing import Literal, Self

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

STACK_NAME = "^[a-z][a-z0-9]{0,15}$"


class AwsSettings(BaseModel):
    """The stack on AWS ECS. Credentials are not among these: boto3 finds them where it always does."""

    stack: str = Field(default="dev", description="its name, and part of every other name")
    region: str = "us-east-1"
    account_id: str | None = Field(default=None, description="refuse any other account")
    vpc_id: str | None = Field(default=None, description="a VPC of yours; left out: one is made")
    subnet_ids: list[str] = Field(default=[], description="your private subnets with a way out; with vpc_id")
    vpc_cidr: str = Field(
        default="10.20.0.0/16",
        description="of the VPC that is made; another than those of the networks that it is to be joined to",
    )
    zones: int = Field(default=3, ge=2, le=3, description="availability zones of the VPC that is made")
    image: str | None = Field(
        default=None, description="repository@sha256:...; left out: app-<image_tag> in the stack's own"
    )
    member_image: str | None = Field(default=None, description="the same for Hazelcast; left out: member-<image_tag>")
    image_tag: str = Field(default="0.1.0", description="of a release; a tag that moves says nothing about what runs")
    cpu_architecture: Literal["X86_64", "ARM64"] = "X86_64"
    members: int = Field(default=3, ge=2, le=9, description="Hazelcast members; one may die and nothing is lost")
    scorers: int = Field(default=2, ge=1, description="tasks of one scorer process each")
    max_scorers: int = Field(default=8, ge=1, description="bound of scaling by lag; more than partitions is of no use")
    transactions_per_second: float = Field(
        default=1_000,
        gt=0,
        description="what one scorer is expected to do: for scaling by lag and the cost per million",
    )
    log_retention_days: Literal[1, 3, 5, 7, 14, 30, 60, 90] = 14
    expires_after_hours: float = Field(
        default=12, gt=0, description="then the deployment expire/ecs tears the stack down"
    )
    budget_usd: float = Field(default=100, gt=0, description="a month, above which the budget alarm mails")
    budget_email: str | None = Field(default=None, description="whom it mails; left out: no budget alarm")
    dashboard_cidrs: list[str] = Field(
        default=[], description="your network's addresses that may open the dashboard; left out: nobody can"
    )
    dashboard_url: str | None = Field(
        default=None, description="https://...: a name of yours, to point at the load balancer; with dashboard_cidrs"
    )
    dashboard_certificate_arn: str | None = Field(default=None, description="of that name, in ACM")
    metrics_cidrs: list[str] = Field(
        default=[], description="of your Prometheus, in the VPC or a network joined to it; left out: no metrics"
    )
    prefect_api_url: str | None = Field(
        default=None, description="as tasks in the VPC reach it; left out: prefect_api_url"
    )
    prefect_auth_string: SecretStr | None = Field(default=None, description="user:password of your Prefect server")
    prefect_api_key: SecretStr | None = Field(default=None, description="of Prefect Cloud")
    allow_insecure: bool = Field(
        default=False, description="accept a Kafka or a Prefect without encryption, login or replicas: for a trial"
    )
    healthy_timeout_seconds: float = Field(default=900, gt=0, description="for services to become healthy")
    gone_timeout_seconds: float = Field(
        default=900, gt=0, description="for one thing to be gone; network interfaces take long"
    )
    poll_seconds: float = Field(default=5, gt=0)

    @field_validator("stack")
    @classmethod
    def _short_and_small(cls, name: str) -> str:
        if not re.fullmatch(STACK_NAME, name):
            raise ValueError(
                f"{name!r} is no name for a stack: at most 16 small letters and digits, a letter first; "
                "all that AWS lets be named is named after it"
            )
        return name

    @field_validator("vpc_cidr")
    @classmethod
    def _room_for_subnets(cls, cidr: str) -> str:
        network = ip_network(cidr)
        if network.version != 4 or not network.is_private or not 16 <= network.prefixlen <= 24:
            raise ValueError(f"{cidr} is no private network of /16 to /24, as in 10.20.0.0/16")
        return cidr

    @field_validator("dashboard_cidrs", "metrics_cidrs")
    @classmethod
    def _not_everybody(cls, cidrs: list[str]) -> list[str]:
        for cidr in cidrs:
            if ip_network(cidr).prefixlen < 8:
                raise ValueError(f"{cidr} is nearly everybody: name the network that may come in")
        return cidrs

    @model_validator(mode="after")
    def _vpc_with_subnets(self) -> Self:
        if bool(self.vpc_id) != bool(self.subnet_ids):
            raise ValueError("vpc_id and subnet_ids go together")
        return self

    @model_validator(mode="after")
    def _budget_with_email(self) -> Self:
        if "budget_usd" in self.model_fields_set and not self.budget_email:
            raise ValueError("a budget without budget_email tells nobody")
        if self.budget_email and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", self.budget_email):
            raise ValueError(f"budget_email {self.budget_email!r} is no address")
        return self
