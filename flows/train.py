"""From labelled history to a challenger in the registry, proved and judged."""

from datetime import datetime
from typing import Annotated, Any, Literal

from prefect import flow, tags
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run
from pydantic import Field

from flows.promote import promote as promote_flow
from infra.settings import get_settings
from tasks.train import (
    HistoryOf,
    Run,
    compute_history,
    find_champion,
    fit_model,
    judge_champion,
    judge_file,
    judge_floor,
    judge_model,
    pack_model,
    register_model,
)
from training.input_sets import COMPARED, INPUT_SETS, TITLES


@flow(name="train")
def train(
    source: Literal["topics", "file", "simulator"] = "topics",
    transactions: str | None = None,
    data: str | None = None,
    count: Annotated[int, Field(ge=1)] = 2_000_000,
    seed: Annotated[int, Field(ge=0)] = 7,
    days: Annotated[int, Field(ge=1)] = 90,
    inputs: Literal["online", "everything", "static", "general"] = "online",
    search_seconds: Annotated[float | None, Field(ge=0)] = None,
    compare: bool = True,
    beside: str | None = None,
    as_of: datetime | None = None,
    promote: bool = False,
) -> dict[str, Any]:
    """Train a model, prove its ONNX file, judge it on later transactions, and keep it in the registry.

    Args:
        source: `topics` (Transactions and Labels), `file`, or `simulator`.
        transactions: the file, CSV or Parquet, with known fraud; naming one means `file`.
        data: folder with customers, merchants and dictionaries; left out, what is loaded in Hazelcast.
        count: transactions to simulate.
        seed: of the simulator.
        days: that the simulated transactions span.
        inputs: `static` (all 15), `general` (without those that number cards, shops, towns, jobs and months), or
            `online` (those, and what a card did before), or `everything`, for one population alone.
        search_seconds: for hyper-parameters; left out, the setting's.
        compare: judge the other inputs, logistic regression and today's champion beside it.
        beside: an ONNX file of yours to judge beside it, too.
        as_of: pretend that it is then: nothing newer, and no label that came later, is used.
        promote: let it score if it is not worse than the champion.
    """
    training = get_settings().training
    if compare:
        find_champion()
    of = HistoryOf("file" if transactions else source, transactions, data, count, seed, days)
    run = Run(str(flow_run.id), compute_history(of), as_of, search_seconds)
    fitted = fit_model(run, inputs)
    judged = {}
    if compare:
        for other in COMPARED:
            if other != inputs:
                fit_model(run, other)
                judged[TITLES[other]] = judge_model(run, other)
        for name in ("online", "static"):
            judged[f"logistic regression, {name} inputs"] = judge_floor(run, name)
        champion, metrics = judge_champion(run)
        judged[f"today's champion, {champion}"] = metrics
    if beside:
        name, metrics = judge_file(run, beside)
        judged[name] = metrics
    seconds = training.search_seconds if search_seconds is None else search_seconds
    facts = {
        "history": of.told(),
        "inputs": TITLES[inputs],
        "labels": f"known after {training.label_delay_days:g} days",
        "search": f"{fitted['trials']} trials in {seconds:g} s",
        "parameters": ", ".join(f"{name} {value:.4g}" for name, value in fitted["parameters"].items()),
        "trees": fitted["trees"],
        "costs": f"{training.review_cost:g} a review; a missed fraud its amount x {training.fraud_loss_share:g} "
        f"+ {training.fraud_loss_fixed:g}",
    }
    made = pack_model(run, inputs, judged, facts)
    create_markdown_artifact(made["markdown"], key="train")
    create_table_artifact(made["table"], key="train-metrics", description="on the same later transactions")
    version = register_model(run, made, of, fitted, len(INPUT_SETS[inputs]))
    result = {"version": version, "model_version": made["version"], "metrics": made["metrics"], "parity": made["proof"]}
    if promote:
        with tags(*flow_run.tags):
            result["promoted"] = promote_flow(version=version, as_of=as_of)
    return result
