"""`fraudflow provision` and its kin on AWS ECS: the price first, then the deployments that do it."""

from collections.abc import Callable

import typer
from rich.console import Console
from rich.table import Table

from cli.run import run_deployment
from infra.aws import cost, plan, preconditions
from infra.aws.stack import Stack
from infra.settings import Settings

Progress = Callable[[str], None]


def provision(settings: Settings, progress: Progress, *, topics: bool, yes: bool, dry_run: bool, put_off: bool) -> None:
    """Show what the stack costs, ask, and run provision/ecs.

    Raises:
        TerminalError: the settings do not do, or the run failed.
    """
    stack = Stack.of(settings)
    preconditions.check(stack)
    out = Console()
    price = cost.estimate(settings.aws)
    out.print(
        f"List prices of {cost.PRICES_REGION}, {cost.PRICES_AS_OF}; without your Kafka, your Prefect, and logs:",
        highlight=False,
    )
    out.print(_table(price))
    out.print(
        f"{price.usd_per_hour * 24:.2f} USD a day; {price.usd_per_million:.2f} USD per million transactions at "
        f"{price.transactions_per_second:,.0f}/s.",
        highlight=False,
    )
    out.print(
        f"Stack {stack.name} in {stack.region}: {len(plan.steps(stack))} resources in account {stack.account}. "
        f"It is torn down by itself after {settings.aws.expires_after_hours:g} hours; --put-off counts them anew.",
        highlight=False,
    )
    if not settings.aws.budget_email:
        out.print("Nobody is mailed if it gets dear: FRAUDFLOW_AWS__BUDGET_EMAIL sets an alarm.", highlight=False)
    if dry_run:
        return
    if not yes:
        typer.confirm("Provision it?", abort=True)
    run_deployment("provision/ecs", {"topics": topics, "put_off": put_off}, progress)
    out.print("Provisioned. `fraudflow teardown --target ecs` ends it and its price.", highlight=False)


def scale(scorers: int | None, progress: Progress) -> None:
    """Run scale/ecs."""
    run_deployment("scale/ecs", {"scorers": scorers}, progress)


def teardown(stack: str | None, progress: Progress) -> None:
    """Run teardown/ecs.

    Raises:
        TerminalError: something is left; the message names it.
    """
    run_deployment("teardown/ecs", {"stack": stack}, progress)
    Console().print("nothing of it is left on AWS")


def _table(price: cost.Estimate) -> Table:
    table = Table(box=None, show_footer=True, pad_edge=False)
    table.add_column("part", footer="together")
    table.add_column("USD per hour", footer=f"{price.usd_per_hour:.3f}", justify="right")
    for line in price.lines:
        table.add_row(line.what, f"{line.usd_per_hour:.3f}")
    return table
