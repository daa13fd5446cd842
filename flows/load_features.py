"""Files into Hazelcast; unchanged files load nothing, and a bad row leaves the version before in use."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from tasks.features import find_data, load_into_hazelcast


@flow(name="load-features")
def load_features(data: str | None = None, again: bool = False) -> dict[str, Any]:
    """Load customers, merchants and dictionaries.

    Args:
        data: folder with `customer_data.csv`, `merchant_data.csv` and the dictionaries, of the machine that the flow
            runs on or s3://bucket/folder; left out, the one that was loaded last, and where nothing is loaded the
            simulator's.
        again: with `data` left out, only the one that was loaded last, as the schedule asks: the run fails where
            nothing is loaded.
    """
    result = load_into_hazelcast(find_data(data, again))
    rows = "\n".join(f"| {name} | {count:,} |" for name, count in result["counts"].items())
    uncoded = result["customers_without_code"]
    warning = f"{uncoded:,} customers have a value that the dictionaries lack: their transactions become dead letters."
    create_markdown_artifact(
        f"""## Features {result["version"]}: {"loaded" if result["loaded"] else "unchanged, nothing to load"}

From `{result["source"]}` in {result["seconds"]} s

| map | entries |
|---|---|
{rows}

{warning if uncoded else ""}
""",
        key="load-features",
    )
    return result
