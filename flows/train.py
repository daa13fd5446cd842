"""From labelled history to a challenger in the registry, proved and judged."""

from datetime import datetime
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run
from pydantic import Field

from flows.promote import promote as promote_flow
from infra.settings import get_settings
from tasks.train import (
    HistoryOf,
    compute_history,
    fit_model,
    judge_champion,
    judge_floor,
    judge_model,
    pack_model,
    register_model,
)
from training.learn import INPUT_SETS, TITLES


@flow(name="train")
def train(
    source: Literal["topics", "file", "simulator"] = "topics",
    transactions: str | None = None,
    data: str | None = None,
    count: Annotated[int, Field(ge=1)] = 2_000_000,
    seed: Annotated[int, Field(ge=0)] = 7,
    days: Annotated[int, Field(ge=1)] = 90,
    inputs: Literal["online", "static"] = "online",
    search_seconds: Annotated[float | None, Field(ge=0)] = None,
    compare: bool = True,
    as_of: datetime | None = None,
    promote: bool = False,
) -> dict[str, Any]:
    """Train a model, prove its ONNX file, judge it on later transactions, and keep it in the registry.

    Args:
        source: `topics` (Transactions and Labels), `file`, or `simulator`.
        transactions: the file, CSV or Parquet, with known fraud.
        data: folder with customers, merchants and dictionaries; left out, what is loaded in Hazelcast.
        count: transactions to simulate.
        seed: of the simulator.
        days: that the simulated transactions span.
        inputs: `online` (what a card did before, too) or `static`.
        search_seconds: for hyper-parameters; left out, the setting's.
        compare: judge the other inputs, logistic regression and today's champion beside it.
        as_of: pretend that it is then: nothing newer, and no label that came later, is used.
        promote: let it score if it is not worse than the champion.
    """
    settings = get_settings()
    of = HistoryOf("file" if transactions else source, transactions, data, count, seed, days)
    run = str(flow_run.id)
    if search_seconds is not None:
        settings.training.search_seconds = search_seconds
    history = compute_history(of)
    fitted = fit_model(history, run, as_of, inputs)
    judged = {}
    if compare:
        other = next(name for name in INPUT_SETS if name != inputs)
        fit_model(history, run, as_of, other)
        judged[TITLES[other]] = judge_model(history, run, as_of, other)
        for name in INPUT_SETS:
            judged[f"logistic regression, {name} inputs"] = judge_floor(history, run, as_of, name)
        champion, metrics = judge_champion(history, run, as_of)
        judged[f"today's champion, {champion}"] = metrics
    facts = {
        "inputs": inputs,
        "history": of.told(),
        "labels": f"known after {settings.training.label_delay_days:g} days",
        "search": f"{fitted['trials']} trials in {settings.training.search_seconds:g} s",
        "parameters": ", ".join(f"{name} {value:.4g}" for name, value in fitted["parameters"].items()),
        "trees": fitted["trees"],
        "costs": f"{settings.training.review_cost:g} a review; a missed fraud its amount "
        f"x {settings.training.fraud_loss_share:g} + {settings.training.fraud_loss_fixed:g}",
    }
    made = pack_model(history, run, as_of, inputs, judged, facts)
    create_markdown_artifact(made["markdown"], key="train")
    create_table_artifact(made["table"], key="train-metrics", description="on the same later transactions")
    version = register_model(made, of, fitted, len(INPUT_SETS[inputs]))
    result = {"version": version, "model_version": made["version"], "metrics": made["metrics"], "parity": made["proof"]}
    if promote:
        result["promoted"] = promote_flow(version=version, as_of=as_of)
    return result
