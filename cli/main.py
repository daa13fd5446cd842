"""`fraudflow`: the local stack and the main job, from a terminal."""

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli import dead_letters, models
from cli.bench import bench
from cli.simulate import simulate
from cli.verify import verify
from infra.errors import FraudflowError, TerminalError
from infra.setting_names import unknown_variables
from infra.settings import get_settings

if TYPE_CHECKING:
    from infra.local.status import ServiceStatus

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Real-time card-fraud scoring that a team can run, watch and trust.\n\n"
    "Start with `fraudflow run`: it brings up Kafka, Hazelcast and Prefect on this machine, scores 100,000 "
    "simulated transactions and says what came of it. Every setting is an environment variable FRAUDFLOW_...; "
    "what you name there (your Kafka, your Hazelcast, your Prefect) is used in place of a local one.",
)
# Progress is for people and goes to stderr; stdout stays free for --json.
console = Console(stderr=True, highlight=False)


class Service(StrEnum):
    """A part of the local stack."""

    kafka = "kafka"
    hazelcast = "hazelcast"
    prefect = "prefect"
    worker = "worker"
    dashboard = "dashboard"


@app.command()
def up(
    members: Annotated[
        int | None, typer.Option(min=1, max=5, help="Hazelcast members; left out, FRAUDFLOW_LOCAL__MEMBERS.")
    ] = None,
    only: Annotated[
        list[Service] | None,
        typer.Option(help="This part alone (worker: and Prefect); may be said again. For a stack elsewhere: worker."),
    ] = None,
) -> None:
    """Start what is not running of the local stack: Kafka, Hazelcast, Prefect, deployments and worker, dashboard."""
    from infra.local import stack

    stack.up(get_settings(), members=members, services=only or stack.SERVICES, progress=_progress)
    get_settings.cache_clear()
    _show_status()


@app.command()
def down() -> None:
    """Stop the local stack. Data in Kafka and the run history stay; `fraudflow up` finds them again.

    What is in Hazelcast is gone: the projection fills itself again, `run` or `load-features/local` loads features.
    """
    from infra.local import stack

    stopped = stack.down(get_settings(), progress=_progress)
    console.print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


class Target(StrEnum):
    """Where the pipeline runs."""

    local = "local"
    ecs = "ecs"


def _refuse(given: dict[str, Any], target: Target) -> None:
    """Refuse options that are of the other target: ignored, they would mean something else than what was asked for."""
    for name, value in given.items():
        if value:
            raise typer.BadParameter(f"{name} is for --target {target}")


@app.command()
def provision(
    target: Annotated[Target, typer.Option(help="local: topics and projection. ecs: a whole stack on AWS.")],
    topics: Annotated[bool, typer.Option(help="ecs: make Kafka's topics from here; --no-topics: in the VPC.")] = True,
    yes: Annotated[bool, typer.Option("--yes", help="ecs: do not ask before it costs money.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="ecs: show the price and stop.")] = False,
    put_off: Annotated[
        bool, typer.Option("--put-off", help="ecs: count the hours of a stack that is there from now on.")
    ] = False,
) -> None:
    """Create what is missing of what the pipeline runs on; again, it changes nothing.

    On ecs it first shows what the stack costs by the hour and asks. Then the deployment provision/ecs makes it and
    waits until it is healthy; when a step fails, it says how to go on. The stack tears itself down when its time is
    over, as long as Prefect and its worker run.

    AWS credentials and the settings (FRAUDFLOW_AWS__..., FRAUDFLOW_KAFKA__...) are those of the worker: put the
    credentials into the environment of `fraudflow up`, and the settings there or into .env.
    """
    if target is Target.local:
        from cli.run import run_deployment

        _refuse({"--no-topics": not topics, "--yes": yes, "--dry-run": dry_run, "--put-off": put_off}, Target.ecs)
        run_deployment("provision/local", {}, _progress)
        return
    from cli import ecs

    ecs.provision(get_settings(), _progress, topics=topics, yes=yes, dry_run=dry_run, put_off=put_off)


@app.command()
def scale(
    scorers: Annotated[int | None, typer.Argument(min=0, help="Left out: what the lag needs.")] = None,
) -> None:
    """Set the number of scorers on ECS, and wait until they are healthy. 0 lasts until the next provisioning."""
    from cli import ecs

    ecs.scale(scorers, _progress)


@app.command()
def teardown(
    target: Annotated[Target, typer.Option(help="local: this machine. ecs: the stack on AWS.")] = Target.local,
    topic: Annotated[list[str] | None, typer.Option(help="local: delete this topic too; may be repeated.")] = None,
    stack: Annotated[str | None, typer.Option(help="ecs: of that name; left out: FRAUDFLOW_AWS__STACK.")] = None,
) -> None:
    """Take everything away, then look whether anything is left.

    Locally: stop scoring, remove projection, features and deployments, stop the local processes. What is in Kafka
    stays, except the topics you name.

    On ecs: cancel the runs, stop the tasks, delete every resource that carries the stack's tag, and look in three
    ways that none is left. When it fails, run it again: it goes on where it stopped. What is in Kafka stays.
    """
    if target is Target.ecs:
        from cli import ecs

        _refuse({"--topic": topic}, Target.local)
        ecs.teardown(stack, _progress)
        return
    from cli.run import run_deployment
    from infra.local import stack as local

    _refuse({"--stack": stack}, Target.ecs)
    if not get_settings().prefect_api_url:
        raise TerminalError(
            "nothing of this folder's stack is up, so nothing can be asked to take it out of Kafka and Hazelcast. "
            "`fraudflow down` ends processes that are left; what lies in servers of your own goes after `fraudflow up`"
        )
    run_deployment("teardown/local", {"topics": topic or [], "deployments": True}, _progress)
    stopped = local.down(get_settings(), progress=_progress)
    console.print(f"stopped {', '.join(stopped)}" if stopped else "no local processes were running")
    console.print("nothing is left running")


@app.command()
def status() -> None:
    """Show what is up, where, and the log of what is not well.

    Exit code 1: something of it is dead or does not answer, or nothing is up.
    """
    found = _show_status()
    if not any(service.well for service in found) or any(service.ill for service in found):
        raise typer.Exit(1)


def _show_status() -> "list[ServiceStatus]":
    from infra.local.registry import home_of
    from infra.local.status import status_of

    found = status_of(get_settings())
    table = Table(box=None, pad_edge=False)
    for heading in ("service", "state", "address", "pid", "detail"):
        table.add_column(heading)
    for service in found:
        table.add_row(service.name, service.state, service.address or "", str(service.pid or ""), service.detail or "")
    out = Console(highlight=False)
    out.print(table)
    out.print(f"The stack in {home_of(get_settings())}", markup=False, soft_wrap=True)
    return found


@app.command()
def dashboard(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="In place of the settings' one.")] = None,
) -> None:
    """Serve the dashboard in this terminal, for the Kafka and the Hazelcast of the settings.

    `fraudflow up` starts one too. Whoever listens on more than 127.0.0.1 (FRAUDFLOW_DASHBOARD__ADDRESS) should ask
    people to log in (FRAUDFLOW_DASHBOARD__SECRETS).
    """
    from infra.local import dashboard_server
    from infra.local.registry import home_of

    settings = get_settings()
    if not dashboard_server.installed():
        raise TerminalError("the dashboard is not installed: install fraudflow with its extra `dashboard`")
    if settings.dashboard.address not in {"127.0.0.1", "localhost"} and settings.dashboard.secrets is None:
        console.print("warning: anyone who can reach this address can read it: no login is set up", style="yellow")
    command = [sys.executable, *dashboard_server.arguments(settings.dashboard, port or settings.local.dashboard_port)]
    os.execve(command[0], command, dashboard_server.environment(home_of(settings)))  # noqa: S606


@app.command()
def run(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with customers, merchants and dictionaries; left out, the simulator's, in place of what is "
            "loaded.",
            exists=True,
        ),
    ] = None,
    transactions: Annotated[
        Path | None, typer.Option(help="CSV or Parquet file; left out, they are simulated.", exists=True)
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="ONNX model; refused where a champion is another.", exists=True)
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Transactions to simulate.")] = 100_000,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Transactions a second to send.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Of the simulator; the same gives the same. Left out, time goes on after the newest transaction.",
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=0, help="Scorer processes; 0: the setting, or one per core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before simulated data goes to servers of yours.")
    ] = False,
) -> None:
    """Run the whole pipeline once: load features, seed, score, project; then say what came of it.

    Brings up the local stack if it is not there, and leaves it up to be looked at. Then it ends: `score/local` goes on
    scoring what comes.
    """
    from cli.run import next_simulation, run_pipeline
    from infra.local import stack

    if not yes:
        _ask_before_simulating(simulated_customers=data is None, simulated_transactions=transactions is None)
    stack.up(get_settings(), members=None, progress=_progress)
    get_settings.cache_clear()
    start = None
    if seed is None:
        seed, start = (1, None) if transactions else next_simulation(get_settings().kafka)
    parameters = {
        "data": str(data.resolve()) if data else None,
        "transactions": str(transactions.resolve()) if transactions else None,
        "model": str(model.resolve()) if model else None,
        "count": count,
        "rate": rate,
        "seed": seed,
        "start": start and start.isoformat(),
        "processes": processes,
    }
    summary = run_pipeline(parameters, _progress)
    if as_json:
        print(json.dumps(summary))
    else:
        _show(summary)


def _ask_before_simulating(simulated_customers: bool, simulated_transactions: bool) -> None:
    """Servers that the settings name may be those that others work with."""
    from infra.local.registry import HAZELCAST, KAFKA, Registry, home_of

    settings = get_settings()
    named = Registry(home_of(settings)).named(settings)
    wishes = []
    if simulated_customers and HAZELCAST in named:
        wishes.append(
            f"put simulated customers in place of those in Hazelcast at {', '.join(settings.hazelcast.members or [])}"
        )
    if simulated_transactions and KAFKA in named:
        topic = settings.kafka.topics.transactions
        wishes.append(f"send simulated transactions to {topic} of Kafka at {settings.kafka.bootstrap_servers}")
    if not wishes:
        return
    if not _somebody_is_there():
        raise TerminalError(f"this would {' and '.join(wishes)}: say so with --yes")
    typer.confirm(f"This would {' and '.join(wishes)}. Go on?", abort=True, err=True)


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


app.command()(simulate)
app.command()(bench)
app.add_typer(dead_letters.app, name="dead-letters")
app.command()(verify)
app.command()(models.train)
app.command()(models.promote)
app.add_typer(models.app, name="models")
app.command()(models.monitor)


def _show(summary: dict) -> None:
    latency = summary["latency_ms"]
    rows = {
        "transactions": f"{summary['transactions']:,}",
        "predictions": f"{summary['predictions']:,}",
        "dead letters": f"{summary['dead_letters']:,}",
        "alerts": f"{summary['alerts']:,}",
        "known fraud found": f"{summary['known_fraud_found']:,} of {summary['known_fraud']:,}",
        "scoring": f"{summary['seconds']} s, {summary['transactions_per_second']:,.0f} transactions/s",
        "latency": f"p50 {latency['p50']} ms, p99 {latency['p99']} ms, from Kafka to committed",
        "whole pipeline": f"{summary['total_seconds']} s",
        "Prefect UI": summary["prefect_ui_url"],
        "dashboard": summary["dashboard_url"] or "not running",
        "this run": summary["run_url"],
    }
    out = Console(highlight=False)
    out.print()
    for name, value in rows.items():
        out.print(f"{name:<18} {value}", markup=False, soft_wrap=True)
    out.print("\nThe stack stays up: `fraudflow status` shows it, `fraudflow down` ends it.")


def _progress(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


def main() -> None:
    """Run a command; tell errors that we foresaw in one line, with exit code 1."""
    try:
        for name, like in unknown_variables().items():
            hint = f": did you mean {like}?" if like else ""
            console.print(
                f"warning: {name} is no setting, and does nothing{hint}", style="yellow", markup=False, soft_wrap=True
            )
        app()
    except FraudflowError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
