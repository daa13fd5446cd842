"""`fraudflow verify`: whether anything was lost or doubled, found out from the topics alone."""

import json
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from infra.errors import FraudflowError
from infra.settings import get_settings

_VIOLATED, _CANNOT_VERIFY, _NOT_ALL_CHECKED = 1, 2, 3
_MARKS = {"held": "[green]held[/]", "violated": "[red]violated[/]", "not checked": "[yellow]not checked[/]"}


def verify(
    drained: Annotated[
        bool, typer.Option("--drained", help="Transactions that wait to be scored are lost ones.")
    ] = False,
    against: Annotated[
        Path | None, typer.Option(help="Baseline to compare probabilities with.", exists=True, dir_okay=False)
    ] = None,
    write_baseline: Annotated[
        Path | None, typer.Option(help="Keep this run's probabilities as a baseline in this file.")
    ] = None,
    watch: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="First watch the committed offsets for that long.")
    ] = 0,
    projection: Annotated[
        bool | None,
        typer.Option(
            "--map/--no-map", help="Compare predictionResult with the topic; left out: if Hazelcast is named."
        ),
    ] = None,
    map_seconds: Annotated[float, typer.Option(min=0, help="How long the map may be behind the topic.")] = 60,
    offenders: Annotated[int, typer.Option(min=0, help="How many to show for each invariant.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Check that nothing was lost, doubled or changed, by reading input and output as a stranger would.

    Reads Transactions, Predictions and DeadLetters from the first offset to the last (read_committed), the committed
    offsets of the scorers' group, and predictionResult in Hazelcast. It joins no group and writes nothing. It uses
    the settings (FRAUDFLOW_KAFKA__..., FRAUDFLOW_HAZELCAST__..., .env), so it works on your cluster as well.

    A: nothing lost. Every transaction before the committed offset has an answer, and nothing else has one. A
    prediction names the transaction that stands at its source partition and offset.

    B: nothing doubled. One answer for each source partition and offset.

    C: in order. Source offsets rise within a partition of Predictions.

    D: same answers. With --against, each probability equals the baseline's, bit by bit, and what has one there is no
    dead letter.

    E: offsets. They stand right behind the last answer; with --watch, they are never ahead of it.

    F: the map. Each entry of predictionResult is what the topic says, and none is missing within its bound.

    It may run while the pipeline does: what waits to be scored is counted, and is no failure without --drained. What
    retention has deleted is not judged, and counted too. Memory: nine bytes for each offset, and 24 for each prediction
    where the map is compared or a baseline is written.

    To compare with an undisturbed run: `fraudflow verify --drained --write-baseline calm.npz`; send the same
    transactions again into fresh topics, make trouble; `fraudflow verify --drained --against calm.npz`.

    Exit code 0: all that was asked for was checked, and holds. 1: an invariant is violated. 2: it could not be
    verified. 3: what was checked holds, but not all that was asked for could be checked: Hazelcast is away, say, or
    the baseline does not know the transactions. What that was is told.
    """
    from verify.baseline import require_writable
    from verify.verification import Options
    from verify.verification import verify as run
    from verify.watch import watch as watch_offsets

    err = Console(stderr=True, highlight=False)

    def progress(text: str) -> None:
        err.print(text, markup=False, soft_wrap=True)

    options = Options(drained, against, write_baseline, projection, offenders, map_seconds)
    try:
        if write_baseline:
            require_writable(write_baseline)
        settings = get_settings()
        watched = watch_offsets(settings, watch, threading.Event(), progress) if watch else None
        verdict = run(settings, options, progress)
    except FraudflowError as error:
        err.print(f"cannot verify: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(_CANNOT_VERIFY) from error
    if watched:
        verdict.merge(watched)
    if as_json:
        print(json.dumps(verdict.to_json()))
    else:
        out = Console(highlight=False)
        for check in verdict.checks:
            count = f", {check.violations:,} times" if check.violations else ""
            out.print(f"{check.letter}  {_MARKS[check.state]}{count}  {check.title}")
            for line in check.offenders[:offenders]:
                out.print(f"     {line}", markup=False, soft_wrap=True)
            for line in check.unchecked:
                out.print(f"     not checked: {line}", markup=False, soft_wrap=True, style="yellow")
            for line in check.notes:
                out.print(f"     ({line})", markup=False, soft_wrap=True, style="dim")
        out.print(", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in verdict.counts.items()))
    if not verdict.holds:
        raise typer.Exit(_VIOLATED)
    if not verdict.complete:
        raise typer.Exit(_NOT_ALL_CHECKED)
