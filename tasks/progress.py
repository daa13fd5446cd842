"""A progress bar in the UI."""

from typing import cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException


class ProgressBar:
    """A progress artifact; a Prefect server that is away must not stop the work.

    An update that does not arrive is followed by the next one, which creates the artifact where there is none yet.
    """

    def __init__(self, key: str, description: str):
        """Nothing is shown yet. To be made within a task, whose run the artifact belongs to."""
        self._key, self._description = key, description
        self._logger = get_run_logger()
        self._id: UUID | None = None

    def show(self, percent: float) -> None:
        """Show how far it is, 0 to 100. Each is a call to Prefect's server."""
        try:
            if self._id is None:
                made = create_progress_artifact(percent, key=self._key, description=self._description)
                self._id = cast(UUID, made)  # called from a synchronous task, it is no coroutine
            else:
                update_progress_artifact(self._id, percent)
        except (PrefectException, httpx.HTTPError) as error:
            self._logger.warning("the progress is not shown: %s", error)
