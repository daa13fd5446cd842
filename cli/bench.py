"""`fraudflow bench`: what the README's numbers come from."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from infra.errors import TerminalError


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Within two minutes: fewer transactions, one turn.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="A measure: breakdown, throughput, peers, ...; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; left out: benchmarks/results/full, or quick.")
    ] = None,
) -> None:
    """Measure throughput, CPU, latency, growth and the peers side by side, on servers of its own.

    Writes a table, the figures as JSON and plots. Nothing else should run on the machine meanwhile. What
    FRAUDFLOW_SCORING__... says is measured.
    """
    if not find_spec("benchmarks"):
        raise TerminalError("the benchmarks are in fraudflow's repository and not in its package: run it there")
    from benchmarks import suite  # noqa: PLC0415 - `--help` must not wait for it

    console = Console(stderr=True, highlight=False)
    report = suite.run(only or [], quick, out, lambda text: console.print(text, markup=False, soft_wrap=True))
    print(report.read_text())
    console.print(f"written to {report.parent}", markup=False, soft_wrap=True)
