"""Which failures of a task are worth another try."""

from typing import Any

from hazelcast.errors import HazelcastError
from prefect.client.schemas.objects import State, TaskRun

from infra.errors import TransientError


def transient_only(task: Any, task_run: TaskRun, state: State) -> bool:
    """Whether Prefect should retry: only errors that time cures.

    A wrong file or a refused login fails at once, with its own message, instead of after minutes of retries.
    Give it to every task that retries: `@task(retries=3, retry_condition_fn=transient_only)`.
    """
    try:
        state.result()
    except (TransientError, HazelcastError):  # of Hazelcast, nothing that its client says is for a person to mend
        return True
    except Exception:  # noqa: BLE001 - whatever else a task raises is for a person
        return False
    return False
