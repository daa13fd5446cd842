"""`fraudflow`: the local stack and the main job, from a terminal."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.simulate import simulate
from infra.errors import FraudflowError
from infra.settings import get_settings

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


@app.command()
def up(
    members: Annotated[int, typer.Option(min=1, max=5, help="Hazelcast members.")] = 1,
) -> None:
    """Start what is not running of the local stack: Kafka, Hazelcast, Prefect server and worker, deployments."""
    from infra.local import stack

    stack.up(get_settings(), members=members, progress=_progress)
    get_settings.cache_clear()
    status()


@app.command()
def down() -> None:
    """Stop the local stack. Data in Kafka and the run history stay; `fraudflow up` finds them again."""
    from infra.local import stack

    stopped = stack.down(get_settings(), progress=_progress)
    console.print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@app.command()
def teardown(
    topic: Annotated[list[str] | None, typer.Option(help="Delete this topic too; may be repeated.")] = None,
) -> None:
    """Stop scoring, remove projection, features, deployments and work pool, stop the local processes; then look.

    What is in Kafka stays, except the topics you name.
    """
    from cli.run import run_deployment
    from infra.local import stack

    run_deployment("teardown/local", {"topics": topic or [], "deployments": True}, _progress)
    stopped = stack.down(get_settings(), progress=_progress)
    console.print(f"stopped {', '.join(stopped)}" if stopped else "no local processes were running")
    console.print("nothing is left running")


@app.command()
def status() -> None:
    """Show what is up, where, and where its log is."""
    from infra.local import stack

    table = Table(box=None, pad_edge=False)
    for heading in ("service", "state", "address", "pid", "detail"):
        table.add_column(heading)
    for service in stack.status(get_settings()):
        table.add_row(service.name, service.state, service.address or "", str(service.pid or ""), service.detail or "")
    Console().print(table)


@app.command()
def run(
    data: Annotated[
        Path | None, typer.Option(help="Folder with customers, merchants and dictionaries.", exists=True)
    ] = None,
    transactions: Annotated[Path | None, typer.Option(help="CSV or Parquet file.", exists=True)] = None,
    model: Annotated[Path | None, typer.Option(help="ONNX model.", exists=True)] = None,
    count: Annotated[int, typer.Option(min=1, help="Transactions to simulate.")] = 100_000,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Transactions a second to send.")] = None,
    seed: Annotated[int, typer.Option(help="Of the simulator.")] = 1,
    processes: Annotated[int, typer.Option(min=0, help="Scorer processes; 0: one per core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Run the whole pipeline once: load features, seed, score, project; then say what came of it.

    Brings up the local stack if it is not there, and leaves it up to be looked at. Without --data and
    --transactions it simulates both.
    """
    from cli.run import run_pipeline
    from infra.local import stack

    stack.up(get_settings(), members=None, progress=_progress)
    get_settings.cache_clear()
    parameters = {
        "data": str(data.resolve()) if data else None,
        "transactions": str(transactions.resolve()) if transactions else None,
        "model": str(model.resolve()) if model else None,
        "count": count,
        "rate": rate,
        "seed": seed,
        "processes": processes,
    }
    summary = run_pipeline(parameters, _progress)
    if as_json:
        print(json.dumps(summary))
    else:
        _show(summary)


app.command()(simulate)


def _show(summary: dict) -> None:
    latency = summary["latency_ms"]
    table = Table(box=None, show_header=False, pad_edge=False)
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
        "this run": summary["run_url"],
    }
    for name, value in rows.items():
        table.add_row(name, value)
    out = Console(highlight=False)
    out.print()
    out.print(table)
    out.print("\nThe stack stays up: `fraudflow status` shows it, `fraudflow down` ends it.")


def _progress(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


def main() -> None:
    """Run a command; tell errors that we foresaw in one line, with exit code 1."""
    try:
        app()
    except FraudflowError as error:
        console.print(f"error: {error}", style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
