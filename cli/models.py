"""`fraudflow train`, `promote` and `models`: from history to the model that scores."""

from datetime import datetime
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from infra.errors import TerminalError
from infra.settings import Settings, get_settings

app = typer.Typer(invoke_without_command=True)
console = Console(stderr=True, highlight=False)


class Source(StrEnum):
    """Where a labelled history comes from."""

    topics = "topics"
    file = "file"
    simulator = "simulator"


class Inputs(StrEnum):
    """What a model looks at."""

    online = "online"
    everything = "everything"
    static = "static"
    general = "general"


Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder with customers, merchants and dictionaries; left out: what is loaded, or with --source simulator "
        "the simulator's.",
        exists=True,
    ),
]
File = Annotated[Path | None, typer.Option(help="CSV or Parquet with known fraud.", exists=True, dir_okay=False)]
AsOf = Annotated[
    datetime | None, typer.Option(help="Pretend that it is then: nothing newer, and no later label, is used.")
]
Which = Annotated[
    str | None,
    typer.Argument(
        help="Number, alias or model version, as `fraudflow models` lists them; left out: the challenger, which the "
        "newest training made."
    ),
]


def train(
    source: Annotated[
        Source,
        typer.Option(
            help="topics: Transactions and Labels. file: that of --transactions, and taken where there is one. "
            "simulator: made for it."
        ),
    ] = Source.topics,
    transactions: File = None,
    data: Data = None,
    count: Annotated[int, typer.Option(min=1, help="simulator: transactions.")] = 2_000_000,
    seed: Annotated[int, typer.Option(min=0, help="simulator: the same seed gives the same ones.")] = 7,
    days: Annotated[int, typer.Option(min=1, help="simulator: that they span.")] = 90,
    inputs: Annotated[
        Inputs,
        typer.Option(
            help="online: what a card did before, too. static: the 15 inputs of a model without memory. general: "
            "those without the codes that number cards, shops, towns, jobs and months. everything: all there is."
        ),
    ] = Inputs.online,
    search_seconds: Annotated[float | None, typer.Option(min=0, help="For hyper-parameters.")] = None,
    compare: Annotated[bool, typer.Option(help="Judge other inputs, a floor and the champion beside it.")] = True,
    beside: Annotated[
        Path | None, typer.Option(help="An ONNX model to judge beside it, too.", exists=True, dir_okay=False)
    ] = None,
    as_of: AsOf = None,
    promote_it: Annotated[bool, typer.Option("--promote", help="Let it score, if it is not worse.")] = False,
    results: Annotated[Path | None, typer.Option(help="Write report.md and report.json there.")] = None,
) -> None:
    """Train a model on labelled history, prove its ONNX file, judge it, and keep it as the challenger.

    Runs the deployment train/local, so the stack must be up. The history is cut by time: a model is judged on the
    newest labelled days, and has learnt from what was known when they began. What errors cost and when labels come are
    settings (FRAUDFLOW_TRAINING__...). Nothing scores with the new model before it is promoted.
    """
    from cli.run import run_deployment

    if source is Source.file and not transactions:
        raise typer.BadParameter("--source file needs --transactions")
    parameters = {
        "source": source,
        "transactions": _path(transactions),
        "data": _path(data),
        "count": count,
        "seed": seed,
        "days": days,
        "inputs": inputs,
        "search_seconds": search_seconds,
        "compare": compare,
        "beside": _path(beside),
        "as_of": as_of.isoformat() if as_of else None,
        "promote": promote_it,
    }
    run, _ = run_deployment("train/local", parameters, _progress)
    if results:
        registry = _registry(get_settings())
        registry.reports(registry.made_by(str(run)), results)
    _show(get_settings())


def promote(
    version: Which = None,
    source: Annotated[
        Source | None, typer.Option(help="Of the transactions to compare on; left out: as it was trained.")
    ] = None,
    transactions: File = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with customers, merchants and dictionaries; left out: as it was trained, or with --source or "
            "--transactions what is loaded (the simulator's own with --source simulator).",
            exists=True,
        ),
    ] = None,
    as_of: AsOf = None,
    even_if_worse: Annotated[
        bool,
        typer.Option("--even-if-worse", help="Or not to be compared: for going back to an earlier model."),
    ] = False,
) -> None:
    """Let a model score, if it is not worse than the one that does: left out, the challenger.

    Both are judged on the same rows, the newest labelled ones that neither has learnt from, if there are any. Then
    running scorers take it within seconds, between two batches.
    """
    from cli.run import run_deployment

    parameters = {
        "version": version,
        "source": source,
        "transactions": _path(transactions),
        "data": _path(data),
        "as_of": as_of.isoformat() if as_of else None,
        "even_if_worse": even_if_worse,
    }
    run_deployment("promote/local", parameters, _progress)
    _show(get_settings())


def monitor() -> None:
    """Look now, as the schedule does: drift, precision and recall, lag, dead letters, age of the features."""
    from cli.run import run_deployment

    run_deployment("monitor/local", {}, _progress)


@app.callback()
def look(context: typer.Context) -> None:
    """Show the models that there are, which one scores, and which one is tried beside it.

    A model is named by its number in the registry, by its alias, or by its version, which every prediction has.
    """
    if context.invoked_subcommand is None:
        _show(get_settings())


@app.command("shadow")
def shadow(version: Which = None) -> None:
    """Let a model score beside the champion and decide nothing: its probability stands in each prediction."""
    _try_beside(version, None)


@app.command("canary")
def canary(
    version: Which = None,
    share: Annotated[float, typer.Option(min=0.001, max=1, help="Of the cards, always the same ones.")] = 0.05,
    highest_alert_rate: Annotated[float, typer.Option(min=0, max=1, help="Of what it decides.")] = 0.2,
    lowest_alert_rate: Annotated[float, typer.Option(min=0, max=1, help="Of what it decides.")] = 0.0,
    inference_factor: Annotated[float, typer.Option(min=1, help="Of the champion's time.")] = 5.0,
    after: Annotated[int, typer.Option(min=1, help="Transactions before it is judged.")] = 1_000,
) -> None:
    """Let a model decide for a share of the cards. Scorers take it out when it leaves its bounds."""
    from infra.model_store import Bounds

    bounds = Bounds(
        after=after,
        highest_alert_rate=highest_alert_rate,
        lowest_alert_rate=lowest_alert_rate,
        inference_factor=inference_factor,
    )
    _try_beside(version, share, bounds)


@app.command("stop")
def stop() -> None:
    """Let the champion alone score."""
    from infra.model_store import ModelStore
    from training.rollout import stop_trial

    stop_trial(ModelStore(get_settings().kafka), "stopped by `fraudflow models stop`")
    _show(get_settings())


def _try_beside(named: str | None, share: float | None, bounds: Any = None) -> None:
    from infra.model_store import Bounds, ModelStore
    from training.rollout import try_beside

    settings = get_settings()
    store = ModelStore(settings.kafka)
    store.read()  # without Kafka there is nobody to try it, and no registry is begun
    registry = _registry(settings)
    package = registry.package(registry.version(named))
    why = "shadow" if share is None else f"canary for {share:g} of the cards"
    try_beside(store, settings, package, share, bounds or Bounds(), why)
    _show(settings)


def _registry(settings: Settings) -> Any:
    if find_spec("mlflow") is None:
        raise TerminalError("the registry needs fraudflow's extra `train`: install it with `make .venv/.tested`")
    from training.registry import Registry

    return Registry(settings)


def _show(settings: Settings) -> None:
    from infra.model_store import ModelStore
    from training.places import has_registry

    out = Console(highlight=False)
    models = ModelStore(settings.kafka).read()
    roles = models.roles
    playing = {}
    if roles:
        playing[roles.champion] = "champion"
        if roles.challenger:
            share = f", {roles.canary_share:.1%} of the cards" if roles.mode == "canary" else ""
            playing[roles.challenger] = f"{roles.mode}{share}"
    table = Table(box=None)
    for heading in ("number", "model version", "made (UTC)", "inputs", "average precision", "alias", "scores as"):
        # The one that people copy must not be cut in a narrow terminal.
        table.add_column(heading, min_width=16 if heading == "model version" else None)
    listed = set()
    for one in _registry(settings).versions() if find_spec("mlflow") and has_registry(settings) else []:
        listed.add(one.model_version)
        table.add_row(
            one.version,
            one.model_version,
            f"{one.created:%Y-%m-%d %H:%M}",
            str(one.inputs or ""),
            f"{one.average_precision:.3f}",
            ", ".join(one.aliases),
            playing.get(one.model_version, ""),
        )
    for version in [v for v in models.versions() if v not in listed]:
        table.add_row("", version, "", "", "", "", playing.get(version, ""))
    out.print(table)
    if roles:
        out.print(f"\nRoles since {roles.when} by {roles.who}: {roles.why}", markup=False)
    else:
        out.print("\nNo roles were given yet: scorers use the project's own model, or FRAUDFLOW_SCORING__MODEL.")


def _path(path: Path | None) -> str | None:
    return str(path.resolve()) if path else None


def _progress(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
