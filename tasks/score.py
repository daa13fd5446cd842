"""What the score flow looks at before it starts, and shows people while it runs: one artifact, updated in place."""

import threading
from collections.abc import Callable
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from infra.errors import TerminalError
from infra.model_store import ModelStore
from infra.settings import Settings
from scoring.model import read_package
from tasks.files import local_file


def refuse_idle_model(settings: Settings, model: str | None) -> None:
    """Tell who names a model that it would not score: a champion goes before it.

    Raises:
        TerminalError: another model is the champion; or the file cannot be read.
        TransientError: Kafka does not answer.
    """
    roles = ModelStore(settings.kafka).read().roles if model else None
    if roles is None:
        return
    if read_package(local_file(str(model))).version != roles.champion:
        raise TerminalError(
            f"{model} would not score: {roles.champion} is the champion ({roles.why}), and goes before it. Leave the "
            "model out, or begin without a champion in another topic: FRAUDFLOW_KAFKA__TOPICS__MODELS=OtherModels"
        )


class LiveArtifact:
    """A markdown artifact that is created once and then patched: a row every few seconds would flood the history.

    The server may be away for minutes while scoring goes on; an update that does not arrive is followed by the
    next one, which creates the artifact where there is none yet. Updates are sent from a thread, so that a slow server
    never holds up the supervision.
    """

    def __init__(self, key: str, text: Callable[[], str], seconds: float = 5.0):
        self._key, self._text, self._seconds = key, text, seconds
        self._id: UUID | None = None
        self._flow_run_id = UUID(flow_run.id)  # asked in the flow's thread: others do not know their run
        self._done = threading.Event()
        self._logger = get_run_logger()
        self._update()
        self._thread = threading.Thread(target=self._run, name="live-artifact", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.wait(self._seconds):
            self._update()

    def _update(self) -> None:
        try:
            with get_client(sync_client=True) as client:
                if self._id is None:
                    self._id = client.create_artifact(self._new()).id
                else:
                    client.update_artifact(self._id, ArtifactUpdate(data=self._text()))
        except (PrefectException, httpx.HTTPError) as error:
            self._logger.warning("the live artifact was not updated: %s", error)

    def _new(self) -> ArtifactCreate:
        return ArtifactCreate(type="markdown", key=self._key, data=self._text(), flow_run_id=self._flow_run_id)

    def close(self) -> None:
        """Write the last text and end."""
        self._done.set()
        self._thread.join(timeout=10)
        self._update()


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
        """Look until the state says that the run is over, or the run is gone; a server that is away says nothing."""
        while not self._done.wait(self._seconds):
            try:
                with get_client(sync_client=True) as client:
                    state = client.read_flow_run(self._flow_run_id).state
            except ObjectNotFound:
                self.ended = "deleted"  # by a person: another run may have taken its place, and nobody sees this one
                return
            except (PrefectException, httpx.HTTPError):
                continue
            if state is not None and (state.is_final() or state.is_cancelling()):
                self.ended = state.name
                return

    def close(self) -> None:
        """End the thread at its next look."""
        self._done.set()
