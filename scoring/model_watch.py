"""Keeps the models of a scorer as the topic of the models says, outside the scoring thread."""

import logging
import threading

from infra.errors import FraudflowError, TerminalError, TransientError
from infra.model_store import ModelFollower, Models, ModelStore, Roles, RolesChanged
from infra.settings import Settings
from scoring.lineup import Lineup
from scoring.model import Model, load_model, model_file, unpack_model

logger = logging.getLogger(__name__)


class ModelWatch(threading.Thread):
    """Loads the models that have a role, and takes a challenger out that breaks its bounds.

    Kafka away, or a champion that cannot be loaded, changes nothing for a scorer: it goes on with the models it has,
    and every prediction says which one that is.
    """

    def __init__(self, settings: Settings):
        super().__init__(name="model-watch", daemon=True)
        self._settings = settings
        self._stop_event = threading.Event()
        self._loaded: dict[str, Model] = {}
        self._failed: Roles | None = None
        self._lineup: Lineup | None = None
        self._broken: tuple[Roles, str] | None = None

    def first(self) -> Lineup:
        """The models to begin with: those that have roles; where nobody gave any, the settings' own.

        Raises:
            TransientError: Kafka does not answer.
            TerminalError: the model cannot be used.
        """
        models = ModelStore(self._settings.kafka).read()
        if models.roles is None:
            self._lineup = Lineup(load_model(model_file(self._settings), self._settings.scoring.model_sha256))
        else:
            self._lineup = self._load(models.roles, models)
        return self._lineup

    def newest(self) -> Lineup:
        """The models as they are now. After `first`."""
        assert self._lineup is not None  # noqa: S101
        return self._lineup

    def roll_back(self, roles: Roles, reason: str) -> None:
        """Take the challenger of these roles out, for everybody, unless somebody has changed the roles since."""
        self._broken = roles, reason

    def stop(self) -> None:
        """End the thread at its next look."""
        self._stop_event.set()

    def run(self) -> None:
        """Follow the topic for as long as the scorer lives."""
        while not self._stop_event.is_set():
            try:
                follower = ModelFollower(self._settings.kafka)
            except FraudflowError as error:
                logger.warning("models: %s", error)
                self._stop_event.wait(self._settings.scoring.model_poll_seconds)
                continue
            try:
                self._follow(follower)
            except FraudflowError as error:
                logger.warning("models: %s", error)
                self._stop_event.wait(self._settings.scoring.model_poll_seconds)
            finally:
                follower.close()

    def _follow(self, follower: ModelFollower) -> None:
        follower.catch_up()
        while not self._stop_event.is_set():
            self._take(follower.models)
            self._write_roll_back()
            while not follower.poll() and self._broken is None:
                if self._stop_event.wait(self._settings.scoring.model_poll_seconds):
                    return

    def _take(self, models: Models) -> None:
        roles = models.roles
        if roles is None or roles == self._failed or (self._lineup and roles == self._lineup.roles):
            return
        try:
            self._lineup = self._load(roles, models)
        except TerminalError as error:
            self._failed = roles
            logger.error("models stay as they are: %s", error)
        else:
            logger.info("models of generation %d: %s", roles.generation, roles.why)

    def _load(self, roles: Roles, models: Models) -> Lineup:
        """A champion that cannot be loaded is an error; a challenger that cannot be is taken out."""
        champion = self._model(roles.champion, models)
        challenger = None
        if roles.challenger:
            try:
                challenger = self._model(roles.challenger, models)
            except TerminalError as error:
                self.roll_back(roles, f"it cannot be loaded: {error}")
        # A champion of before is not kept: to go back to it, it is loaded again.
        self._loaded = {model.version: model for model in (champion, challenger) if model}
        return Lineup(champion, challenger, roles)

    def _model(self, version: str, models: Models) -> Model:
        return self._loaded.get(version) or unpack_model(models.package(version))

    def _write_roll_back(self) -> None:
        if self._broken is None:
            return
        roles, reason = self._broken
        why = f"challenger {roles.challenger} rolled back: {reason}"
        alone = roles.alone(f"scorer of {self._settings.scoring.group_id}", why)
        try:
            ModelStore(self._settings.kafka).assign(alone, roles.generation)
        except RolesChanged as error:  # by another scorer that saw the same, or by a person: they know better
            logger.info("%s, but %s", why, error)
        except TransientError as error:
            logger.warning("%s, not written yet: %s", why, error)
            return
        else:
            logger.warning("%s", why)
        self._broken = None
