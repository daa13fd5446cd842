"""Cloud Map: the names by which clients find tasks, and the private zone that the names are in."""

from typing import Any

from infra.aws.client import unless_missing
from infra.aws.resource import Kind, Resource, Spec, tag_map, until
from infra.aws.stack import Stack
from infra.errors import TerminalError


class Namespace(Kind):
    """A private DNS zone in the VPC. Spec: vpc."""

    name = "dns namespace"
    arn_types = ("servicediscovery:namespace",)

    def find(self, stack: Stack) -> list[Resource]:
        discovery = stack.api("servicediscovery")
        found = stack.pages("servicediscovery", "list_namespaces", "Namespaces")
        return [
            self._resource(
                stack, "dns", item["Id"], tag_map(discovery.list_tags_for_resource(ResourceARN=item["Arn"])["Tags"])
            )
            for item in found
            if item["Name"] == namespace_name(stack)
        ]

    def exists(self, stack: Stack, ref: str) -> bool:
        ask = stack.api("servicediscovery").get_namespace
        return unless_missing(lambda: ask(Id=ref), "NamespaceNotFound") is not None

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        operation = stack.api("servicediscovery").create_private_dns_namespace(
            Name=namespace_name(stack), Vpc=spec["vpc"], Tags=stack.tag_list(name)
        )["OperationId"]
        return self._finished(stack, operation)["Targets"]["NAMESPACE"]

    def delete(self, stack: Stack, resource: Resource) -> None:
        if self.exists(stack, resource.id):
            self._finished(stack, stack.api("servicediscovery").delete_namespace(Id=resource.id)["OperationId"])

    @staticmethod
    def _finished(stack: Stack, operation_id: str) -> Any:
        operation: dict[str, Any] = {}

        def done() -> bool:
            operation.update(stack.api("servicediscovery").get_operation(OperationId=operation_id)["Operation"])
            if operation["Status"] == "FAIL":
                raise TerminalError(f"Cloud Map: {operation.get('ErrorCode')}: {operation.get('ErrorMessage')}")
            return operation["Status"] == "SUCCESS"

        until(done, stack, stack.settings.aws.healthy_timeout_seconds, f"Cloud Map's operation {operation_id} goes on")
        return operation


def namespace_name(stack: Stack) -> str:
    """The zone's name."""
    return f"{stack.name}.fraudflow.internal"


class DiscoveryService(Kind):
    """A name in the zone that has the addresses of a service's tasks. Spec: namespace."""

    name = "dns service"
    arn_types = ("servicediscovery:service",)

    def find(self, stack: Stack) -> list[Resource]:
        discovery = stack.api("servicediscovery")
        found = []
        for namespace in Namespace().find(stack):
            filters = [{"Name": "NAMESPACE_ID", "Values": [namespace.id], "Condition": "EQ"}]
            for item in stack.pages("servicediscovery", "list_services", "Services", Filters=filters):
                tags = tag_map(discovery.list_tags_for_resource(ResourceARN=item["Arn"])["Tags"])
                found.append(self._resource(stack, item["Name"], item["Id"], tags))
        # What is in our namespace and not ours holds the namespace, and is told then.
        return [resource for resource in found if resource.ours]

    def exists(self, stack: Stack, ref: str) -> bool:
        ask = stack.api("servicediscovery").get_service
        return unless_missing(lambda: ask(Id=ref), "ServiceNotFound") is not None

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        return stack.api("servicediscovery").create_service(
            Name=name,
            NamespaceId=spec["namespace"],
            DnsConfig={"RoutingPolicy": "MULTIVALUE", "DnsRecords": [{"Type": "A", "TTL": 10}]},
            HealthCheckCustomConfig={"FailureThreshold": 1},
            Tags=stack.tag_list(name),
        )["Service"]["Id"]

    def delete(self, stack: Stack, resource: Resource) -> None:
        if not self.exists(stack, resource.id):
            return
        discovery = stack.api("servicediscovery")
        # ECS takes its tasks out itself; what a killed one left would hold the service.
        for instance in stack.pages("servicediscovery", "list_instances", "Instances", ServiceId=resource.id):
            discovery.deregister_instance(ServiceId=resource.id, InstanceId=instance["Id"])
        discovery.delete_service(Id=resource.id)
