"""The main job: provision, load-features, seed-transactions, score, project, in that order."""

import time
from datetime import date
from typing import Any

from prefect import flow, tags
from prefect.artifacts import Artifact, create_markdown_artifact
from prefect.runtime import flow_run

from flows.load_features import load_features
from flows.provision import provision
from flows.score import score
from flows.seed_transactions import seed_transactions
from infra.settings import get_settings
from tasks.features import demo_data
from tasks.project import wait_for_projection
from tasks.score import refuse_idle_model

SUMMARY_TYPE = "fraudflow-summary"


@flow(name="project")
def project() -> int:
    """Wait until Hazelcast shows every prediction; how many it shows now, those of earlier runs included."""
    return wait_for_projection()


@flow(name="pipeline")
def pipeline(
    data: str | None = None,
    transactions: str | None = None,
    model: str | None = None,
    count: int = 100_000,
    rate: float | None = None,
    seed: int = 1,
    start: date | None = None,
    processes: int = 0,
) -> dict[str, Any]:
    """Run everything once and say what came of it.

    Args:
        data: folder with customers, merchants and dictionaries; left out, the simulator's.
        transactions: a CSV or Parquet file; left out, the simulator's.
        model: an ONNX model; left out, the champion, or the project's own.
        count: transactions to simulate.
        rate: transactions a second to send; left out, as fast as it goes.
        seed: of the simulator.
        start: the first simulated day; left out, the simulator's own.
        processes: scorer processes; 0 takes the setting.
    """
    started = time.monotonic()
    # By its tag a run is known as one of this project's, and one that is called has those alone that it is given.
    with tags(*flow_run.tags):
        provision()
        refuse_idle_model(get_settings(), model)
        features = load_features(data=data or demo_data())
        seeded = seed_transactions(transactions=transactions, data=data, count=count, rate=rate, seed=seed, start=start)
        scored = score(processes=processes, until_drained=True, model=model)
        projected = project()
    summary = scored | {
        "total_seconds": round(time.monotonic() - started, 1),
        "sent": seeded["sent"],
        "features_version": features["version"],
        "projected": projected,
    }
    Artifact(type=SUMMARY_TYPE, key="pipeline-summary", data=summary).create()
    create_markdown_artifact(_markdown(summary), key="pipeline")
    return summary


def _markdown(summary: dict[str, Any]) -> str:
    latency = summary["latency_ms"]
    return f"""## {summary["predictions"]:,} predictions from {summary["transactions"]:,} transactions

| | |
|---|---|
| dead letters | {summary["dead_letters"]:,} |
| alerts | {summary["alerts"]:,} |
| scoring | {summary["seconds"]} s, {summary["transactions_per_second"]:,.0f} transactions/s |
| taken from Kafka to committed | p50 {latency["p50"]} ms, p99 {latency["p99"]} ms |
| inference | {summary["inference_us"]} us a transaction |
| in Hazelcast | {summary["projected"]:,} predictions |
| known fraud found | {summary["known_fraud_found"]:,} of {summary["known_fraud"]:,} |
| features | {summary["features_version"]} |
"""
