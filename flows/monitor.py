"""Looks at what flows, compares it with what the model has learnt from, and tells each incident once."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from infra.settings import get_settings
from tasks.monitor import measure, tell, train_again
from tasks.provision import provide_topics


@flow(name="monitor")
def monitor(retrain: bool | None = None) -> dict[str, Any]:
    """Measure drift, precision and recall, lag, dead letters and the age of the features.

    Args:
        retrain: start `train` on drift or lost quality, unless it was started a short time ago; left out, the
            setting's (FRAUDFLOW_MONITOR__RETRAIN).
    """
    provide_topics()
    measured = measure()
    told = tell(measured)
    wanted = get_settings().monitor.retrain if retrain is None else retrain
    training = train_again(measured["findings"], wanted)
    rows = "\n".join(f"| {name} | {value} |" for name, value in measured["facts"].items())
    found = "\n".join(f"- {finding['text']}" for finding in measured["findings"]) or "- nothing"
    create_markdown_artifact(
        f"""## Model {measured["model"]}

What is not as it should be:

{found}

| | |
|---|---|
{rows}

The report: `{measured["report"]}`
""",
        key="monitor",
    )
    if measured["drift"]:
        table = [{"input": name, "PSI": f"{index:.3f}"} for name, index in measured["drift"].items()]
        create_table_artifact(table, key="monitor-drift", description="population stability index, largest first")
    return told | {"findings": [finding["key"] for finding in measured["findings"]], "training": training}
