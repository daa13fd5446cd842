"""The cluster and what runs in it: task definitions, services, tasks."""

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any

from infra.aws.access import cluster_arn
from infra.aws.resource import Kind, Resource, Spec, tag_map, until
from infra.aws.stack import EXPIRES_TAG, Stack

DEFINITION_TAG = "fraudflow:definition"
_BATCH = 10  # what ECS describes, and deletes, in one call


class Cluster(Kind):
    """A Fargate cluster."""

    name = "ecs cluster"
    arn_types = ("ecs:cluster",)

    def find(self, stack: Stack) -> list[Resource]:
        found = self._active(stack, stack.prefix)
        return [self._resource(stack, "cluster", c["clusterName"], _ecs_tags(c.get("tags", []))) for c in found]

    def exists(self, stack: Stack, ref: str) -> bool:
        return bool(self._active(stack, ref))

    @staticmethod
    def _active(stack: Stack, ref: str) -> list[Any]:
        clusters = stack.api("ecs").describe_clusters(clusters=[ref], include=["TAGS"])["clusters"]
        return [cluster for cluster in clusters if cluster["status"] != "INACTIVE"]

    def going(self, stack: Stack, ref: str) -> bool:
        return any(cluster["status"] == "DEPROVISIONING" for cluster in self._active(stack, ref))

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        return stack.api("ecs").create_cluster(
            clusterName=stack.prefix,
            # It costs per metric, and the dashboard and Prefect show what matters.
            settings=[{"name": "containerInsights", "value": "disabled"}],
            tags=stack.tag_list(name, "key", "value"),
        )["cluster"]["clusterName"]

    def delete(self, stack: Stack, resource: Resource) -> None:
        if self.exists(stack, resource.id):
            stack.api("ecs").delete_cluster(cluster=resource.id)


class TaskDefinition(Kind):
    """A family of task definitions; its id is the family. Spec: definition (arguments of RegisterTaskDefinition)."""

    name = "task definition"
    arn_types = ("ecs:task-definition",)

    def find(self, stack: Stack) -> list[Resource]:
        families = stack.pages(
            "ecs",
            "list_task_definition_families",
            "families",
            familyPrefix=f"{stack.prefix}-",
            status="ACTIVE",
        )
        return [self._found(stack, family) for family in families if self.exists(stack, family)]

    def _found(self, stack: Stack, family: str) -> Resource:
        return self._resource(stack, family.removeprefix(f"{stack.prefix}-"), family, self._tags(stack, family))

    @staticmethod
    def _tags(stack: Stack, family: str) -> dict[str, str]:
        answer = stack.api("ecs").describe_task_definition(taskDefinition=family, include=["TAGS"])
        return _ecs_tags(answer.get("tags", []))

    def exists(self, stack: Stack, ref: str) -> bool:
        return bool(self._revisions(stack, ref, "ACTIVE"))

    @staticmethod
    def _revisions(stack: Stack, family: str, status: str) -> list[str]:
        arns = stack.pages("ecs", "list_task_definitions", "taskDefinitionArns", familyPrefix=family, status=status)
        return [arn for arn in arns if _family_of(arn) == family]

    def id_of(self, arn: str) -> str:
        return _family_of(arn)

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        self._register(stack, name, spec)
        return spec["definition"]["family"]

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        # AWS adds to what was registered, so a fingerprint is compared and not the definition.
        if self._tags(stack, ref).get(DEFINITION_TAG) == _fingerprint(spec["definition"]):
            return False
        self._register(stack, name, spec)
        return True

    @staticmethod
    def _register(stack: Stack, name: str, spec: Spec) -> None:
        tags = stack.tags(name) | {DEFINITION_TAG: _fingerprint(spec["definition"])}
        stack.api("ecs").register_task_definition(
            **spec["definition"], tags=[{"key": key, "value": value} for key, value in tags.items()]
        )

    def delete(self, stack: Stack, resource: Resource) -> None:
        ecs = stack.api("ecs")
        for arn in self._revisions(stack, resource.id, "ACTIVE"):
            ecs.deregister_task_definition(taskDefinition=arn)
        for batch in _batches(self._revisions(stack, resource.id, "INACTIVE")):
            ecs.delete_task_definitions(taskDefinitions=batch)


def _family_of(arn: str) -> str:
    return arn.rpartition("/")[2].partition(":")[0]


def _fingerprint(definition: Any) -> str:
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:32]


class Task(Kind):
    """What runs in the cluster: Prefect's flow runs, and what a service has not stopped yet."""

    name = "task"
    arn_types = ("ecs:task",)

    def find(self, stack: Stack) -> list[Resource]:
        if not Cluster().exists(stack, stack.prefix):
            return []
        arns = [
            arn
            for status in ("RUNNING", "STOPPED")  # a task that was told to stop counts as STOPPED long before it has
            for arn in stack.pages("ecs", "list_tasks", "taskArns", cluster=stack.prefix, desiredStatus=status)
        ]
        return [
            Resource(self.name, str(task.get("group", task["taskArn"])), task["taskArn"])
            for task in self._described(stack, arns)
            if task["lastStatus"] != "STOPPED"
        ]

    def exists(self, stack: Stack, ref: str) -> bool:
        if not Cluster().exists(stack, stack.prefix):
            return False
        return any(task["lastStatus"] != "STOPPED" for task in self._described(stack, [ref]))

    @staticmethod
    def _described(stack: Stack, arns: list[str]) -> list[Any]:
        ecs = stack.api("ecs")
        return [
            task for batch in _batches(arns) for task in ecs.describe_tasks(cluster=stack.prefix, tasks=batch)["tasks"]
        ]

    def id_of(self, arn: str) -> str:
        return arn

    def delete(self, stack: Stack, resource: Resource) -> None:
        stack.api("ecs").stop_task(cluster=stack.prefix, task=resource.id, reason="fraudflow teardown")


class Service(Kind):
    """Tasks that ECS keeps at a number.

    Spec: cluster, count, scaled (whether people set the number), family, subnets, groups; registry where they have
    a name; target_group and port where a load balancer leads to them.
    """

    name = "ecs service"
    arn_types = ("ecs:service",)

    def find(self, stack: Stack) -> list[Resource]:
        if not Cluster().exists(stack, stack.prefix):
            return []
        names = [
            arn.rpartition("/")[2] for arn in stack.pages("ecs", "list_services", "serviceArns", cluster=stack.prefix)
        ]
        return [
            self._resource(stack, service["serviceName"], service["serviceName"], _ecs_tags(service.get("tags", [])))
            for service in describe_services(stack, names)
        ]

    def exists(self, stack: Stack, ref: str) -> bool:
        return Cluster().exists(stack, stack.prefix) and bool(describe_services(stack, [ref]))

    def going(self, stack: Stack, ref: str) -> bool:
        return any(service["status"] == "DRAINING" for service in describe_services(stack, [ref]))

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        # At 0: `settle` starts it. So a provisioning that failed in between goes on in the same way.
        stack.api("ecs").create_service(
            cluster=spec["cluster"],
            serviceName=name,
            taskDefinition=spec["family"],
            desiredCount=0,
            launchType="FARGATE",
            networkConfiguration=_network(spec),
            deploymentConfiguration=_rollout(spec["count"]),
            enableECSManagedTags=True,
            enableExecuteCommand=False,
            propagateTags="SERVICE",
            tags=stack.tag_list(name, "key", "value"),
            **_ways_in(name, spec),
        )
        return name

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        ecs = stack.api("ecs")
        (service,) = describe_services(stack, [ref])
        newest = newest_definition(stack, spec["family"])
        changes: dict[str, Any] = {}
        if service["taskDefinition"] != newest:
            changes["taskDefinition"] = newest
        # A number that somebody scaled to stays; 0 is not a number that a provisioned stack stands at.
        present, wanted = service["desiredCount"], spec["count"]
        if present == 0 or (present < wanted and not spec["scaled"]):
            changes["desiredCount"] = wanted
            changes["deploymentConfiguration"] = _rollout(wanted)
        network = service["networkConfiguration"]["awsvpcConfiguration"]
        if (set(network["subnets"]), network["securityGroups"]) != (set(spec["subnets"]), spec["groups"]):
            changes["networkConfiguration"] = _network(spec)
        changes |= _other_ways_in(service, name, spec)
        if changes:
            ecs.update_service(cluster=stack.prefix, service=ref, **changes)
        if present > wanted and not spec["scaled"]:
            self._shrink(stack, ref, present, wanted)
            return True
        return bool(changes)

    @staticmethod
    def _shrink(stack: Stack, ref: str, present: int, wanted: int) -> None:
        """One at a time: each member has one backup of what it holds, and hands it over before it leaves."""
        for count in range(present - 1, wanted - 1, -1):
            stack.api("ecs").update_service(cluster=stack.prefix, service=ref, desiredCount=count)

            def left(count: int = count) -> bool:
                return describe_services(stack, [ref])[0]["runningCount"] <= count

            until(left, stack, stack.settings.aws.healthy_timeout_seconds, f"service {ref} has more than {count} tasks")

    def delete(self, stack: Stack, resource: Resource) -> None:
        ecs = stack.api("ecs")
        if self.exists(stack, resource.id):
            ecs.update_service(cluster=stack.prefix, service=resource.id, desiredCount=0)
            ecs.delete_service(cluster=stack.prefix, service=resource.id, force=True)


# The dashboard answers some seconds after its start; until then the load balancer's word does not count.
_GRACE_SECONDS = 120


def _network(spec: Spec) -> dict[str, Any]:
    return {
        "awsvpcConfiguration": {
            "subnets": spec["subnets"],
            "securityGroups": spec["groups"],
            "assignPublicIp": "DISABLED",
        }
    }


def _rollout(count: int) -> dict[str, Any]:
    return {
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        "minimumHealthyPercent": 100,
        # One new task at a time: a Hazelcast member must hand its data over before the next one leaves.
        "maximumPercent": 100 + math.ceil(100 / count),
    }


def _ways_in(name: str, spec: Spec) -> dict[str, Any]:
    """How tasks are found, in ECS's words."""
    ways: dict[str, Any] = {}
    if "registry" in spec:
        ways["serviceRegistries"] = [{"registryArn": spec["registry"]}]
    if "target_group" in spec:
        door = {"targetGroupArn": spec["target_group"], "containerName": name, "containerPort": spec["port"]}
        ways["loadBalancers"] = [door]
        ways["healthCheckGracePeriodSeconds"] = _GRACE_SECONDS
    return ways


def _other_ways_in(service: Any, name: str, spec: Spec) -> dict[str, Any]:
    """What to change where the settings ask for another name or load balancer than when the service was made."""
    wanted, changes = _ways_in(name, spec), {}
    for way, arn in (("serviceRegistries", "registryArn"), ("loadBalancers", "targetGroupArn")):
        due = wanted.get(way, [])
        if [one[arn] for one in service.get(way, [])] != [one[arn] for one in due]:
            changes[way] = due
    if changes.get("loadBalancers"):
        changes["healthCheckGracePeriodSeconds"] = _GRACE_SECONDS
    return changes


def newest_definition(stack: Stack, family: str) -> str:
    """The ARN of the newest task definition of a family."""
    found = stack.api("ecs").describe_task_definition(taskDefinition=family)
    return found["taskDefinition"]["taskDefinitionArn"]


def describe_services(stack: Stack, names: list[str]) -> list[Any]:
    """The descriptions of those that are there, with their tags."""
    ecs = stack.api("ecs")
    return [
        service
        for batch in _batches(names)
        for service in ecs.describe_services(cluster=stack.prefix, services=batch, include=["TAGS"])["services"]
        if service["status"] != "INACTIVE"
    ]


def renew(stack: Stack) -> None:
    """Put the stack's end off: of all the ends on what it has, the latest counts, and here it is its cluster's."""
    tag = {"key": EXPIRES_TAG, "value": stack.tags("cluster")[EXPIRES_TAG]}
    stack.api("ecs").tag_resource(resourceArn=cluster_arn(stack), tags=[tag])


def _ecs_tags(tags: Any) -> dict[str, str]:
    return tag_map(tags, "key", "value")


def _batches(items: list[str]) -> Iterable[list[str]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
