"""The deployment seed-transactions on a Prefect server: what people see of it, and what a retry sends."""

from pathlib import Path

import pytest
from prefect import flow
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import TaskRunSort
from prefect.exceptions import ParameterTypeError
from prefect.runtime import flow_run

from flows.seed_transactions import seed_transactions
from infra.errors import InputError
from infra.group_reader import GroupReader
from infra.settings import Settings
from simulator.population import simulate_population
from simulator.transactions import simulate_transactions
from tests.waiting import until

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("on_prefect")]


def rows_in_topic(settings: Settings) -> int:
    """Records of the topic by its committed offsets and those of nobody: all of it is unread."""
    reader = GroupReader(settings.kafka, "nobody", settings.kafka.topics.transactions)
    try:
        return reader.lag()
    finally:
        reader.close()


def test_simulated_rows_are_sent_once_and_the_run_shows_it(settings: Settings, data: Path):
    done = seed_transactions(data=str(data), count=5_000)
    assert (done["sent"], done["resumed_from"]) == (5_000, 0)
    # Each partition that was written to has the marker of one commit.
    assert 0 <= rows_in_topic(settings) - 5_000 <= settings.kafka.partitions
    report = Artifact.get("seed-transactions")
    assert report is not None
    assert "5,000 transactions sent" in str(report.data)
    progress = Artifact.get("seeding")
    assert progress is not None
    assert (progress.type, float(str(progress.data))) == ("progress", 100.0)


def test_a_run_that_is_retried_sends_nothing_twice_and_a_new_run_sends_again(settings: Settings, data: Path):
    ran: list[tuple[str, int]] = []

    @flow(retries=1)
    def parent() -> dict:
        done = seed_transactions.fn(data=str(data), count=5_000)
        ran.append((str(flow_run.id), done["resumed_from"]))
        if len(ran) == 1:
            raise RuntimeError("after the rows were sent")
        return done

    assert parent()["sent"] == 5_000
    assert ran == [(ran[0][0], 0), (ran[0][0], 5_000)]
    sent = rows_in_topic(settings)
    assert sent < 5_000 + 2 * settings.kafka.partitions
    assert seed_transactions(data=str(data), count=5_000)["resumed_from"] == 0
    assert rows_in_topic(settings) >= sent + 5_000


def test_a_file_is_sent_and_a_wrong_one_is_told_without_retries(settings: Settings, tmp_path: Path):
    good, wrong = tmp_path / "good.csv", tmp_path / "wrong.csv"
    simulate_transactions(simulate_population(10, 14, 1), 123, 1).write_csv(good)
    wrong.write_text("cc_num,amt\n1,2\n")
    assert seed_transactions(transactions=str(good))["sent"] == 123
    state = seed_transactions(transactions=str(wrong), return_state=True)
    with pytest.raises(InputError, match="lacks the columns"):
        state.result()
    with get_client(sync_client=True) as client:

        def counts() -> list[int]:
            # Prefect learns of task runs by events, which may come late.
            newest = client.read_task_runs(limit=1, sort=TaskRunSort.EXPECTED_START_TIME_DESC)
            failed = [run for run in newest if run.name.startswith("send_transactions") and run.state_name == "Failed"]
            return [run.run_count for run in failed]

        assert until(counts, what="the failed task") == [1]


def test_parameters_out_of_range_are_refused(settings: Settings):
    with pytest.raises(ParameterTypeError):
        seed_transactions(rate=0)
