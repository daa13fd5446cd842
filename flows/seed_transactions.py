"""Fills the transactions topic from a file or the simulator."""

from datetime import date
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from pydantic import Field

from infra.settings import get_settings
from tasks.provision import provide_topics
from tasks.seed import send_transactions


@flow(name="seed-transactions")
def seed_transactions(
    transactions: str | None = None,
    data: str | None = None,
    count: Annotated[int, Field(ge=0)] = 100_000,
    rate: Annotated[float | None, Field(gt=0)] = None,
    seed: Annotated[int, Field(ge=0)] = 1,
    start: date | None = None,
) -> dict[str, Any]:
    """Send transactions to Kafka, each exactly once however often this run is retried. A new run sends them again.

    Args:
        transactions: a CSV or Parquet file, or s3://bucket/key; left out, the simulator's.
        data: folder, or s3://bucket/folder, with the customers and merchants to simulate with; left out, the
            simulator's.
        count: transactions to simulate.
        rate: transactions a second; left out, as fast as it goes.
        seed: of the simulator; the same one gives the same transactions.
        start: the first simulated day; left out, the simulator's own.
    """
    provide_topics()
    # The run's id is the same when it is retried, by Prefect or by a person, and no other run has it.
    sent = send_transactions(flow_run.id, transactions, data, count, rate, seed, start)
    topic = get_settings().kafka.topics.transactions
    resumed = f"row {sent.resumed_from:,}" if sent.resumed_from else "the start"
    create_markdown_artifact(
        f"""## {sent.rows:,} transactions sent to {topic}

| | |
|---|---|
| from | {transactions or f"the simulator, seed {seed}"} |
| took up at | {resumed} |
| seconds | {sent.seconds:.1f} |
| rate | {sent.rows_per_second:,.0f} rows/s |
""",
        key="seed-transactions",
    )
    return {
        "sent": sent.rows,
        "resumed_from": sent.resumed_from,
        "seconds": round(sent.seconds, 3),
        "rows_per_second": round(sent.rows_per_second, 1),
    }
