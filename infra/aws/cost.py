"""What a stack costs, before it is there. Every price is in this file, with the day on which it was read."""

from dataclasses import dataclass

from infra.aws.containers import DASHBOARD, MEMBERS, SCORERS, SIZES, WORKER
from infra.aws.settings import AwsSettings

PRICES_AS_OF = "2026-11-24"
PRICES_REGION = "us-east-1"
"""Public list prices in USD; other regions cost up to twice as much."""

_VCPU_HOUR = {"X86_64": 0.04048, "ARM64": 0.03238}
_GB_HOUR = {"X86_64": 0.004445, "ARM64": 0.00356}
_NAT_HOUR, _NAT_GB = 0.045, 0.045
_TRANSFER_OUT_GB = 0.09
_PUBLIC_IPV4_HOUR = 0.005
# With one unit of capacity, which is 25 new connections a second.
_LOAD_BALANCER_HOUR = 0.0225 + 0.008
_LOGS_GB = 0.50
_SECRET_MONTH, _ZONE_MONTH = 0.40, 0.50
_HOURS_A_MONTH = 730
# Kafka's login, Prefect's, the dashboard's, and the two keys.
_SECRETS = 5

# Of a transaction and of its prediction, uncompressed: 218 and 865 were the means of 10,000 simulated ones, and the
# rest is Kafka's part of a record. The scorers read the one and write the other, which the members then read.
_BYTES_IN, _BYTES_OUT = 300, 1_000


@dataclass(frozen=True)
class Line:
    """One part of the price."""

    what: str
    usd_per_hour: float


@dataclass(frozen=True)
class Estimate:
    """The price of a stack while it is up."""

    lines: list[Line]
    usd_per_million: float
    """Per million transactions at `transactions_per_second`, traffic included."""
    transactions_per_second: float

    @property
    def usd_per_hour(self) -> float:
        """Of everything that costs by the hour."""
        return sum(line.usd_per_hour for line in self.lines)


def estimate(aws: AwsSettings) -> Estimate:
    """The price of the stack of these settings.

    Left out: Kafka and Prefect, which are the user's own; logs by volume, the dashboard's traffic, taxes.
    """
    counts = {MEMBERS: aws.members, SCORERS: aws.scorers, DASHBOARD: 1, WORKER: 1}
    lines = []
    for role, count in counts.items():
        cpu, memory = SIZES[role][0] / 1024, SIZES[role][1] / 1024
        hour = cpu * _VCPU_HOUR[aws.cpu_architecture] + memory * _GB_HOUR[aws.cpu_architecture]
        lines.append(Line(f"{count} {role}, {cpu:g} vCPU and {memory:g} GB each", count * hour))
    if not aws.vpc_id:
        lines.append(Line("NAT gateway with its public address", _NAT_HOUR + _PUBLIC_IPV4_HOUR))
    if aws.dashboard_cidrs:
        addresses = 0 if aws.vpc_id else 2
        public = f" with {addresses} public addresses" if addresses else ""
        hour = _LOAD_BALANCER_HOUR + addresses * _PUBLIC_IPV4_HOUR
        lines.append(Line(f"load balancer of the dashboard{public}", hour))
    lines.append(Line("secrets and DNS zone", (_SECRETS * _SECRET_MONTH + _ZONE_MONTH) / _HOURS_A_MONTH))
    hourly = sum(line.usd_per_hour for line in lines)
    rate = aws.transactions_per_second * aws.scorers
    through_nat = (_BYTES_IN + 2 * _BYTES_OUT) / 1e9 * (0.0 if aws.vpc_id else _NAT_GB)
    traffic = 1e6 * (through_nat + _BYTES_OUT / 1e9 * _TRANSFER_OUT_GB)
    return Estimate(lines, hourly / (rate * 3600) * 1e6 + traffic, rate)


def markdown(aws: AwsSettings) -> str:
    """The estimate as a table."""
    cost = estimate(aws)
    rows = "\n".join(f"| {line.what} | {line.usd_per_hour:.4f} |" for line in cost.lines)
    return f"""| part | USD per hour |
|---|---|
{rows}
| **all of it** | **{cost.usd_per_hour:.3f}** |

{cost.usd_per_hour * 24:.2f} USD a day. {cost.usd_per_million:.2f} USD per million transactions at \
{cost.transactions_per_second:,.0f}/s. List prices of {PRICES_REGION}, {PRICES_AS_OF}; your Kafka, your Prefect and \
logs ({_LOGS_GB:.2f} USD per GB) not included.
"""
