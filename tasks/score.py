"""What the score flow shows people while it runs: one artifact, updated in place."""

import threading
from collections.abc import Callable
from uuid import UUID

import httpx
from prefect.artifacts import Artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger


class LiveArtifact:
    """A markdown artifact that is created once and then patched: a row every few seconds would flood the history.

    The server may be away for minutes while scoring goes on; an update that does not arrive is followed by the
    next one. Updates are sent from a thread, so that a slow server never holds up the supervision.
    """

    def __init__(self, key: str, text: Callable[[], str], seconds: float = 5.0):
        self._key, self._text, self._seconds = key, text, seconds
        self._id: UUID | None = None
        self._done = threading.Event()
        self._logger = get_run_logger()
        self._create()
        self._thread = threading.Thread(target=self._run, name="live-artifact", daemon=True)
        self._thread.start()

    def _create(self) -> None:
        try:
            artifact = Artifact(type="markdown", key=self._key, data=self._text()).create()
            self._id = artifact.id  # type: ignore[union-attr] - the synchronous call returns the response itself
        except (PrefectException, httpx.HTTPError) as error:
            self._logger.warning("no live artifact: %s", error)

    def _run(self) -> None:
        while not self._done.wait(self._seconds):
            with get_client(sync_client=True) as client:
                self._update(client)

    def _update(self, client: SyncPrefectClient) -> None:
        if self._id is None:
            return
        try:
            client.update_artifact(self._id, ArtifactUpdate(data=self._text()))
        except (PrefectException, httpx.HTTPError) as error:
            self._logger.warning("the live artifact was not updated: %s", error)

    def close(self) -> None:
        """Write the last text and end."""
        self._done.set()
        self._thread.join(timeout=10)
        with get_client(sync_client=True) as client:
            self._update(client)


class StateFence(threading.Thread):
    """Watches the flow run's own state in the API.

    Prefect can show a run as cancelled while its process goes on: the worker that should have told it is gone.
    Then nobody else tells the scorers to stop.
    """

    def __init__(self, flow_run_id: UUID, seconds: float = 5.0):
        super().__init__(name="state-fence", daemon=True)
        self._flow_run_id, self._seconds = flow_run_id, seconds
        self._done = threading.Event()
        self.ended: str | None = None

    def run(self) -> None:
        """Look until the state says that the run is over; a server that is away says nothing."""
        while not self._done.wait(self._seconds):
            try:
                with get_client(sync_client=True) as client:
                    state = client.read_flow_run(self._flow_run_id).state
            except (PrefectException, httpx.HTTPError):
                continue
            if state is not None and (state.is_final() or state.is_cancelling()):
                self.ended = state.name
                return

    def close(self) -> None:
        """End the thread at its next look."""
        self._done.set()
