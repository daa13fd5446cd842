"""The network: a VPC with private subnets, one way out, and security groups with the least rights.

Tasks get no public address. They reach AWS, Kafka and Prefect through one NAT gateway, and S3 through a gateway
endpoint, which costs nothing.
"""

import ipaddress
from collections.abc import Iterable
from typing import Any, ClassVar

from infra.aws.client import unless_missing
from infra.aws.resource import Kind, Resource, Spec, tag_map, until
from infra.aws.stack import STACK_TAG, Stack
from infra.errors import TerminalError

EVERYWHERE = "0.0.0.0/0"


class Ec2Kind(Kind):
    """What EC2's kinds share: they have no names, so they are found by tag and asked for by a filter."""

    operation: ClassVar[str]
    listing: ClassVar[str]
    key: ClassVar[str]
    filter_name: ClassVar[str]
    tag_type: ClassVar[str]
    gone_states: ClassVar[frozenset[str]] = frozenset()

    def going(self, stack: Stack, ref: str) -> bool:
        return str((self.one(stack, ref) or {}).get("State", "")).lower() == "deleting"

    def find(self, stack: Stack) -> list[Resource]:
        mine = self.search(stack, {"Name": f"tag:{STACK_TAG}", "Values": [stack.name]})
        found = [self._resource(stack, item[self.key], item[self.key], tag_map(item.get("Tags", []))) for item in mine]
        # Not every EC2 honours the filter for every kind, and what is found here may be deleted.
        return [resource for resource in found if resource.ours]

    def exists(self, stack: Stack, ref: str) -> bool:
        return self.one(stack, ref) is not None

    def one(self, stack: Stack, ref: str) -> Any:
        """Its description, or None."""
        return next(iter(self.search(stack, {"Name": self.filter_name, "Values": [ref]})), None)

    def search(self, stack: Stack, condition: dict[str, Any]) -> list[Any]:
        """The descriptions of those that are there and meet the filter."""
        items = stack.pages("ec2", self.operation, self.listing, Filters=[condition])
        return [item for item in items if str(item.get("State", "")).lower() not in self.gone_states]

    def tagged(self, stack: Stack, name: str) -> list[dict[str, Any]]:
        """`TagSpecifications` for its creation."""
        return [{"ResourceType": self.tag_type, "Tags": stack.tag_list(name)}]


class Vpc(Ec2Kind):
    """A VPC with DNS names, which Cloud Map and Fargate need. Spec: cidr."""

    name = "vpc"
    arn_types = ("ec2:vpc",)
    operation, listing, key = "describe_vpcs", "Vpcs", "VpcId"
    filter_name, tag_type = "vpc-id", "vpc"

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        tags = self.tagged(stack, name)
        return stack.api("ec2").create_vpc(CidrBlock=spec["cidr"], TagSpecifications=tags)["Vpc"]["VpcId"]

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        ec2 = stack.api("ec2")
        on = ec2.describe_vpc_attribute(VpcId=ref, Attribute="enableDnsHostnames")["EnableDnsHostnames"]["Value"]
        if not on:
            ec2.modify_vpc_attribute(VpcId=ref, EnableDnsHostnames={"Value": True})
        return not on

    def delete(self, stack: Stack, resource: Resource) -> None:
        stack.api("ec2").delete_vpc(VpcId=resource.id)


class InternetGateway(Ec2Kind):
    """The VPC's way to the internet; only the NAT gateway's subnet leads there. Spec: vpc."""

    name = "internet gateway"
    arn_types = ("ec2:internet-gateway",)
    operation, listing, key = "describe_internet_gateways", "InternetGateways", "InternetGatewayId"
    filter_name, tag_type = "internet-gateway-id", "internet-gateway"

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        made = stack.api("ec2").create_internet_gateway(TagSpecifications=self.tagged(stack, name))
        return made["InternetGateway"]["InternetGatewayId"]

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        if self.one(stack, ref)["Attachments"]:
            return False
        stack.api("ec2").attach_internet_gateway(InternetGatewayId=ref, VpcId=spec["vpc"])
        return True

    def delete(self, stack: Stack, resource: Resource) -> None:
        ec2 = stack.api("ec2")
        for attachment in (self.one(stack, resource.id) or {"Attachments": []})["Attachments"]:
            ec2.detach_internet_gateway(InternetGatewayId=resource.id, VpcId=attachment["VpcId"])
        ec2.delete_internet_gateway(InternetGatewayId=resource.id)


class Subnet(Ec2Kind):
    """A part of the VPC in one zone. Spec: vpc, cidr, zone (its number, counted from 0)."""

    name = "subnet"
    arn_types = ("ec2:subnet",)
    operation, listing, key = "describe_subnets", "Subnets", "SubnetId"
    filter_name, tag_type = "subnet-id", "subnet"

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        ec2 = stack.api("ec2")
        zones = ec2.describe_availability_zones(Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}])
        names = sorted(zone["ZoneName"] for zone in zones["AvailabilityZones"] if zone["State"] == "available")
        made = ec2.create_subnet(
            VpcId=spec["vpc"],
            CidrBlock=spec["cidr"],
            AvailabilityZone=names[spec["zone"] % len(names)],
            TagSpecifications=self.tagged(stack, name),
        )
        return made["Subnet"]["SubnetId"]

    def delete(self, stack: Stack, resource: Resource) -> None:
        stack.api("ec2").delete_subnet(SubnetId=resource.id)


class ElasticIp(Ec2Kind):
    """The one public address, of the NAT gateway: the one to allow in a Kafka's list of addresses."""

    name = "elastic ip"
    arn_types = ("ec2:elastic-ip",)
    operation, listing, key = "describe_addresses", "Addresses", "AllocationId"
    filter_name, tag_type = "allocation-id", "elastic-ip"

    def search(self, stack: Stack, condition: dict[str, Any]) -> list[Any]:
        return stack.api("ec2").describe_addresses(Filters=[condition])["Addresses"]

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        made = stack.api("ec2").allocate_address(Domain="vpc", TagSpecifications=self.tagged(stack, name))
        return made["AllocationId"]

    def delete(self, stack: Stack, resource: Resource) -> None:
        stack.api("ec2").release_address(AllocationId=resource.id)


class NatGateway(Ec2Kind):
    """The way out of the private subnets. Spec: subnet, address."""

    name = "nat gateway"
    arn_types = ("ec2:natgateway",)
    operation, listing, key = "describe_nat_gateways", "NatGateways", "NatGatewayId"
    filter_name, tag_type = "nat-gateway-id", "natgateway"
    gone_states = frozenset({"deleted", "failed"})

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        made = stack.api("ec2").create_nat_gateway(
            SubnetId=spec["subnet"],
            AllocationId=spec["address"],
            TagSpecifications=self.tagged(stack, name),
        )
        return made["NatGateway"]["NatGatewayId"]

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        def available() -> bool:
            found = stack.api("ec2").describe_nat_gateways(NatGatewayIds=[ref])["NatGateways"][0]
            if found["State"] == "failed":
                raise TerminalError(f"AWS could not make {self.name} {name}: {found.get('FailureMessage')}")
            return found["State"] == "available"

        until(available, stack, stack.settings.aws.healthy_timeout_seconds, f"{self.name} {ref} is not available")
        return False

    def delete(self, stack: Stack, resource: Resource) -> None:
        stack.api("ec2").delete_nat_gateway(NatGatewayId=resource.id)


class RouteTable(Ec2Kind):
    """Where a subnet's traffic goes. Spec: vpc, subnets, and gateway or nat."""

    name = "route table"
    arn_types = ("ec2:route-table",)
    operation, listing, key = "describe_route_tables", "RouteTables", "RouteTableId"
    filter_name, tag_type = "route-table-id", "route-table"

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        made = stack.api("ec2").create_route_table(VpcId=spec["vpc"], TagSpecifications=self.tagged(stack, name))
        return made["RouteTable"]["RouteTableId"]

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        ec2, table = stack.api("ec2"), self.one(stack, ref)
        associated = {association.get("SubnetId") for association in table["Associations"]}
        missing = [subnet for subnet in spec["subnets"] if subnet not in associated]
        way = {"GatewayId": spec["gateway"]} if "gateway" in spec else {"NatGatewayId": spec["nat"]}
        out = [route for route in table["Routes"] if route.get("DestinationCidrBlock") == EVERYWHERE]
        routed = any(way.items() <= route.items() for route in out)
        if not routed:
            # A gateway that was deleted leaves its route behind, and that leads nowhere.
            lay = ec2.replace_route if out else ec2.create_route
            lay(RouteTableId=ref, DestinationCidrBlock=EVERYWHERE, **way)
        for subnet in missing:
            ec2.associate_route_table(RouteTableId=ref, SubnetId=subnet)
        return bool(missing) or not routed

    def delete(self, stack: Stack, resource: Resource) -> None:
        ec2 = stack.api("ec2")
        for association in (self.one(stack, resource.id) or {"Associations": []})["Associations"]:
            ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
        ec2.delete_route_table(RouteTableId=resource.id)


class S3Endpoint(Ec2Kind):
    """S3 without the NAT gateway and its price. Spec: vpc, route_tables."""

    name = "s3 endpoint"
    arn_types = ("ec2:vpc-endpoint",)
    operation, listing, key = "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"
    filter_name, tag_type = "vpc-endpoint-id", "vpc-endpoint"
    gone_states = frozenset({"deleted", "failed", "rejected", "expired"})

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        made = stack.api("ec2").create_vpc_endpoint(
            VpcEndpointType="Gateway",
            VpcId=spec["vpc"],
            ServiceName=f"com.amazonaws.{stack.region}.s3",
            RouteTableIds=spec["route_tables"],
            TagSpecifications=self.tagged(stack, name),
        )
        return made["VpcEndpoint"]["VpcEndpointId"]

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        missing = sorted(set(spec["route_tables"]) - set(self.one(stack, ref)["RouteTableIds"]))
        if missing:
            stack.api("ec2").modify_vpc_endpoint(VpcEndpointId=ref, AddRouteTableIds=missing)
        return bool(missing)

    def one(self, stack: Stack, ref: str) -> Any:
        ask = stack.api("ec2").describe_vpc_endpoints
        found = unless_missing(lambda: ask(VpcEndpointIds=[ref])["VpcEndpoints"], "InvalidVpcEndpointId.NotFound")
        return next((item for item in found or [] if item["State"].lower() not in self.gone_states), None)

    def delete(self, stack: Stack, resource: Resource) -> None:
        stack.api("ec2").delete_vpc_endpoints(VpcEndpointIds=[resource.id])


class SecurityGroup(Ec2Kind):
    """Whom a role's tasks may talk to; its rules are a kind of their own, because groups name each other.

    Spec: vpc, purpose.
    """

    name = "security group"
    arn_types = ("ec2:security-group",)
    operation, listing, key = "describe_security_groups", "SecurityGroups", "GroupId"
    filter_name, tag_type = "group-id", "security-group"

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        return stack.api("ec2").create_security_group(
            GroupName=f"{stack.prefix}-{name}",
            Description=spec["purpose"],
            VpcId=spec["vpc"],
            TagSpecifications=self.tagged(stack, name),
        )["GroupId"]

    def delete(self, stack: Stack, resource: Resource) -> None:
        stack.api("ec2").delete_security_group(GroupId=resource.id)


# A rule is (protocol, port, whom): whom is a group's id or a range of addresses.
Rule = tuple[str, int, str]


class SecurityRules(Kind):
    """The rules of a security group; its id is the group's. Spec: group, ingress, egress (lists of Rule)."""

    name = "security rules"

    def find(self, stack: Stack) -> list[Resource]:
        groups = SecurityGroup().find(stack)
        return [Resource(self.name, group.name, group.id, group.ours) for group in groups if self._any(stack, group.id)]

    def exists(self, stack: Stack, ref: str) -> bool:
        return self._any(stack, ref)

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        return spec["group"]

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        ec2, group = stack.api("ec2"), SecurityGroup().one(stack, ref)
        changed = False
        for present, wanted, authorize, revoke in (
            (
                group["IpPermissions"],
                spec["ingress"],
                ec2.authorize_security_group_ingress,
                ec2.revoke_security_group_ingress,
            ),
            (
                group["IpPermissionsEgress"],
                spec["egress"],
                ec2.authorize_security_group_egress,
                ec2.revoke_security_group_egress,
            ),
        ):
            there, due = set(_rules(present)), {tuple(rule) for rule in wanted}
            if there - due:
                revoke(GroupId=ref, IpPermissions=_permissions(there - due))
            if due - there:
                authorize(GroupId=ref, IpPermissions=_permissions(due - there))
            changed = changed or there != due
        return changed

    def delete(self, stack: Stack, resource: Resource) -> None:
        if SecurityGroup().exists(stack, resource.id):
            self.settle(stack, resource.name, resource.id, {"ingress": [], "egress": []})

    def _any(self, stack: Stack, ref: str) -> bool:
        group = SecurityGroup().one(stack, ref)
        return bool(group and (group["IpPermissions"] or group["IpPermissionsEgress"]))


class NetworkInterface(Kind):
    """What ECS put into our groups for its tasks. It goes minutes after them, and until then holds the groups."""

    name = "network interface"
    arn_types = ("ec2:network-interface",)

    def find(self, stack: Stack) -> list[Resource]:
        return self.of(stack, [group.id for group in SecurityGroup().find(stack)])

    def of(self, stack: Stack, groups: list[str]) -> list[Resource]:
        """Those in these groups."""
        if not groups:
            return []
        found = self._list(stack, {"Name": "group-id", "Values": groups})
        return [Resource(self.name, item.get("Description", ""), item["NetworkInterfaceId"]) for item in found]

    def exists(self, stack: Stack, ref: str) -> bool:
        return bool(self._list(stack, {"Name": "network-interface-id", "Values": [ref]}))

    def delete(self, stack: Stack, resource: Resource) -> None:
        for item in self._list(stack, {"Name": "network-interface-id", "Values": [resource.id]}):
            if item["Status"] == "available":  # nobody holds it: left over, and nobody else will delete it
                stack.api("ec2").delete_network_interface(NetworkInterfaceId=resource.id)

    @staticmethod
    def _list(stack: Stack, condition: dict[str, Any]) -> list[Any]:
        return list(stack.pages("ec2", "describe_network_interfaces", "NetworkInterfaces", Filters=[condition]))


def _rules(permissions: Iterable[Any]) -> list[Rule]:
    rules = []
    for permission in permissions:
        whom = [pair["GroupId"] for pair in permission.get("UserIdGroupPairs", [])]
        whom += [entry["CidrIp"] for entry in permission.get("IpRanges", [])]
        whom += [entry["CidrIpv6"] for entry in permission.get("Ipv6Ranges", [])]
        rules += [(permission["IpProtocol"], permission.get("FromPort", -1), one) for one in whom]
    return rules


def _permissions(rules: Iterable[Any]) -> list[dict[str, Any]]:
    permissions = []
    for protocol, port, whom in sorted(rules):
        ports = {} if protocol == "-1" else {"FromPort": port, "ToPort": port}
        if whom.startswith("sg-"):
            target: dict[str, Any] = {"UserIdGroupPairs": [{"GroupId": whom}]}
        elif ":" in whom:
            target = {"Ipv6Ranges": [{"CidrIpv6": whom}]}
        else:
            target = {"IpRanges": [{"CidrIp": whom}]}
        permissions.append({"IpProtocol": protocol, **ports, **target})
    return permissions


def subnet_cidrs(vpc_cidr: str, count: int) -> list[str]:
    """The first `count` sixteenths of a VPC."""
    return [str(part) for part in ipaddress.ip_network(vpc_cidr).subnets(prefixlen_diff=4)][:count]


def interface_pattern(cidr: str) -> str:
    """A range of addresses as Hazelcast writes it: 10.20.0.0/20 is 10.20.0-15.*."""
    network = ipaddress.ip_network(cidr)
    octets = []
    for low, high in zip(network.network_address.packed, network.broadcast_address.packed, strict=True):
        octets.append("*" if (low, high) == (0, 255) else str(low) if low == high else f"{low}-{high}")
    return ".".join(octets)
