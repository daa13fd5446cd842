"""The dashboard's door: a load balancer that speaks TLS. It is there only where the settings say who may come in.

In a VPC that is made it has public addresses, for there is no other way in; in a VPC of the user's it has none, and is
reached as that VPC is. Either way its security group lets in the settings' addresses alone, and behind it the
dashboard asks everybody to log in.
"""

from typing import Any

from infra.aws.client import unless_missing
from infra.aws.resource import Kind, Resource, Spec, tag_map, until
from infra.aws.stack import Stack

PORT = 443
# TLS 1.2 with forward secrecy, and 1.3.
_TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"


class _ElbKind(Kind):
    """What the three kinds share: their ids are ARNs, and their tags are asked for apart."""

    def id_of(self, arn: str) -> str:
        return arn

    def tagged(self, stack: Stack, items: list[Any], key: str) -> list[Resource]:
        """What was found, with its tags."""
        api, found = stack.api("elbv2"), []
        for item in items:
            (description,) = api.describe_tags(ResourceArns=[item[key]])["TagDescriptions"]
            found.append(self._resource(stack, "dashboard", item[key], tag_map(description["Tags"])))
        return found


class TargetGroup(_ElbKind):
    """The dashboard's tasks, by address. Spec: vpc, port, health (a path)."""

    name = "target group"
    arn_types = ("elasticloadbalancing:targetgroup",)

    def find(self, stack: Stack) -> list[Resource]:
        return self.tagged(stack, self._list(stack, Names=[_name(stack)]), "TargetGroupArn")

    def exists(self, stack: Stack, ref: str) -> bool:
        return bool(self._list(stack, TargetGroupArns=[ref]))

    @staticmethod
    def _list(stack: Stack, **which: Any) -> list[Any]:
        ask = stack.api("elbv2").describe_target_groups
        return unless_missing(lambda: ask(**which)["TargetGroups"], "TargetGroupNotFound") or []

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        made = stack.api("elbv2").create_target_group(
            Name=_name(stack),
            VpcId=spec["vpc"],
            TargetType="ip",
            Protocol="HTTP",
            Port=spec["port"],
            HealthCheckPath=spec["health"],
            Tags=stack.tag_list(name),
        )
        return made["TargetGroups"][0]["TargetGroupArn"]

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        elb = stack.api("elbv2")
        # By default a task that stops is waited for 300 s: each roll-out and each teardown would take that long.
        wanted = {"deregistration_delay.timeout_seconds": "30"}
        found = elb.describe_target_group_attributes(TargetGroupArn=ref)["Attributes"]
        if wanted.items() <= tag_map(found).items():
            return False
        elb.modify_target_group_attributes(TargetGroupArn=ref, Attributes=_pairs(wanted))
        return True

    def delete(self, stack: Stack, resource: Resource) -> None:
        if self.exists(stack, resource.id):
            stack.api("elbv2").delete_target_group(TargetGroupArn=resource.id)


class LoadBalancer(_ElbKind):
    """The load balancer. Spec: subnets (in two zones at least), group, public."""

    name = "load balancer"
    arn_types = ("elasticloadbalancing:loadbalancer",)

    def find(self, stack: Stack) -> list[Resource]:
        return self.tagged(stack, self._list(stack, Names=[_name(stack)]), "LoadBalancerArn")

    def exists(self, stack: Stack, ref: str) -> bool:
        return bool(self._list(stack, LoadBalancerArns=[ref]))

    @staticmethod
    def _list(stack: Stack, **which: Any) -> list[Any]:
        ask = stack.api("elbv2").describe_load_balancers
        return unless_missing(lambda: ask(**which)["LoadBalancers"], "LoadBalancerNotFound") or []

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        made = stack.api("elbv2").create_load_balancer(
            Name=_name(stack),
            Type="application",
            Scheme="internet-facing" if spec["public"] else "internal",
            Subnets=spec["subnets"],
            SecurityGroups=[spec["group"]],
            Tags=stack.tag_list(name),
        )
        return made["LoadBalancers"][0]["LoadBalancerArn"]

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        elb = stack.api("elbv2")
        wanted = {"routing.http.drop_invalid_header_fields.enabled": "true"}
        found = elb.describe_load_balancer_attributes(LoadBalancerArn=ref)["Attributes"]
        changed = not wanted.items() <= tag_map(found).items()
        if changed:
            elb.modify_load_balancer_attributes(LoadBalancerArn=ref, Attributes=_pairs(wanted))

        def active() -> bool:
            return any(item["State"]["Code"] == "active" for item in self._list(stack, LoadBalancerArns=[ref]))

        until(active, stack, stack.settings.aws.healthy_timeout_seconds, f"{self.name} {name} is not active")
        return changed

    def delete(self, stack: Stack, resource: Resource) -> None:
        if self.exists(stack, resource.id):
            stack.api("elbv2").delete_load_balancer(LoadBalancerArn=resource.id)


class Listener(_ElbKind):
    """TLS, and nothing else. Spec: balancer, target_group, certificate (ARNs)."""

    name = "listener"
    arn_types = ("elasticloadbalancing:listener",)

    def find(self, stack: Stack) -> list[Resource]:
        ask = stack.api("elbv2").describe_listeners
        found = []
        for balancer in LoadBalancer().find(stack):
            which = {"LoadBalancerArn": balancer.id}
            listeners = unless_missing(lambda w=which: ask(**w)["Listeners"], "LoadBalancerNotFound") or []
            found += self.tagged(stack, listeners, "ListenerArn")
        return found

    def exists(self, stack: Stack, ref: str) -> bool:
        return self._one(stack, ref) is not None

    @staticmethod
    def _one(stack: Stack, ref: str) -> Any:
        ask = stack.api("elbv2").describe_listeners
        found = unless_missing(lambda: ask(ListenerArns=[ref])["Listeners"], "ListenerNotFound")
        return next(iter(found or []), None)

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        made = stack.api("elbv2").create_listener(
            LoadBalancerArn=spec["balancer"],
            Protocol="HTTPS",
            Port=PORT,
            SslPolicy=_TLS_POLICY,
            Certificates=[{"CertificateArn": spec["certificate"]}],
            DefaultActions=[{"Type": "forward", "TargetGroupArn": spec["target_group"]}],
            Tags=stack.tag_list(name),
        )
        return made["Listeners"][0]["ListenerArn"]

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        found = self._one(stack, ref)
        certificates = [certificate["CertificateArn"] for certificate in found["Certificates"]]
        if (found["SslPolicy"], certificates) == (_TLS_POLICY, [spec["certificate"]]):
            return False
        stack.api("elbv2").modify_listener(
            ListenerArn=ref, SslPolicy=_TLS_POLICY, Certificates=[{"CertificateArn": spec["certificate"]}]
        )
        return True

    def delete(self, stack: Stack, resource: Resource) -> None:
        if self.exists(stack, resource.id):
            stack.api("elbv2").delete_listener(ListenerArn=resource.id)


def address(stack: Stack, ref: str) -> str:
    """The name that AWS gave a load balancer: what the user's own name is to point at."""
    (found,) = stack.api("elbv2").describe_load_balancers(LoadBalancerArns=[ref])["LoadBalancers"]
    return found["DNSName"]


def _name(stack: Stack) -> str:
    return f"{stack.prefix}-web"


def _pairs(attributes: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in attributes.items()]
