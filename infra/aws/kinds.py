"""The table of kinds, each after those that it needs: provisioning goes down it, teardown goes up."""

from infra.aws.access import Role
from infra.aws.discovery import DiscoveryService, Namespace
from infra.aws.ecs import Cluster, Service, Task, TaskDefinition
from infra.aws.load_balancer import Listener, LoadBalancer, TargetGroup
from infra.aws.messaging import Budget, EventRule, Queue
from infra.aws.network import (
    ElasticIp,
    InternetGateway,
    NatGateway,
    NetworkInterface,
    RouteTable,
    S3Endpoint,
    SecurityGroup,
    SecurityRules,
    Subnet,
    Vpc,
)
from infra.aws.resource import Kind
from infra.aws.storage import Bucket, LogGroup, Repository, Secret

KINDS: tuple[Kind, ...] = (
    Budget(),
    Vpc(),
    InternetGateway(),
    Subnet(),
    ElasticIp(),
    NatGateway(),
    RouteTable(),
    S3Endpoint(),
    SecurityGroup(),
    SecurityRules(),
    NetworkInterface(),
    Role(),
    LogGroup(),
    Bucket(),
    Repository(),
    Secret(),
    Namespace(),
    DiscoveryService(),
    TargetGroup(),
    LoadBalancer(),
    Listener(),
    Cluster(),
    EventRule(),
    Queue(),
    TaskDefinition(),
    Task(),
    Service(),
)


def kind(name: str) -> Kind:
    """A kind by its name."""
    return next(kind for kind in KINDS if kind.name == name)
