"""A version of the registry becomes the model that scores, if it is not worse than the one that does."""

from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from prefect import flow
from prefect.artifacts import create_table_artifact

from infra.errors import TerminalError
from tasks.promote import compare_with_champion, crown, find_both, history_of
from tasks.train import HistoryOf, compute_history


@flow(name="promote")
def promote(
    version: str | None = None,
    source: Literal["topics", "file", "simulator"] | None = None,
    transactions: str | None = None,
    data: str | None = None,
    as_of: datetime | None = None,
    even_if_worse: bool = False,
) -> dict[str, Any]:
    """Compare a version with the champion on the newest labelled transactions; then let it score.

    Args:
        version: number, alias or model version; left out, the challenger.
        source: of the transactions to compare on; left out, where the version's own history came from, up to today.
        transactions: the file, for `file`.
        data: folder with customers, merchants and dictionaries; left out, the one that the version was trained with, or
            with `source` or `transactions` what is loaded in Hazelcast.
        as_of: pretend that it is then.
        even_if_worse: let it score whatever comes of it, and where they cannot be compared: to go back to an earlier
            model, for example.
    """
    both = find_both(version)
    number, champion = both["number"], both["champion"]
    try:
        if source or transactions:
            of = HistoryOf("file" if transactions else source or "topics", transactions)
        else:
            of = history_of(number)
        history = compute_history(replace(of, data=data) if data else of)
        compared = compare_with_champion(number, history, as_of)
    except TerminalError as error:
        # As where the file of then is gone, or nothing is labelled yet: the way back must be open all the same.
        if not even_if_worse:
            raise
        return crown(number, champion, f"promoted uncompared: {error}") | {"replaced": champion}
    create_table_artifact(
        compared["table"], key="promote", description=f"on the same {compared['rows']:,} later transactions"
    )
    refusal = compared["refusal"]
    if refusal and not even_if_worse:
        raise TerminalError(
            f"{both['version']} is worse than the {compared['against']} and is not promoted: {refusal}. "
            "Try it as a shadow with `fraudflow models shadow`, or promote it with --even-if-worse"
        )
    why = f"promoted although {refusal}" if refusal else f"not worse than {champion}"
    return crown(number, champion, why) | {"replaced": champion}
