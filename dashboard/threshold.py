"""From which score on a transaction is suspected, unless whoever looks says otherwise."""

import json
import logging
import threading
import time
from pathlib import Path

from dashboard.queries import LOWEST
from infra.errors import FraudflowError
from infra.model_store import ModelFollower, Models
from infra.settings import Settings

logger = logging.getLogger(__name__)

_LOOK_SECONDS, _RETRY_SECONDS = 5.0, 10.0
_PROJECT_MODEL = Path(__file__).parents[1] / "scoring" / "models" / "fraud.onnx"


class Threshold:
    """The scorers' own: the setting if there is one, else what the model names that scores now."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._alert = settings.scoring.threshold()
        if settings.scoring.alert_threshold is not None:
            return
        # As long as no champion stands in Kafka, scorers begin with the model of the settings.
        model = Path(settings.scoring.model or _PROJECT_MODEL)
        manifest = model.with_name(model.name + ".manifest.json")
        if manifest.is_file():
            self._take(manifest.read_bytes())
        threading.Thread(target=self._follow, name="kafka-threshold", daemon=True).start()

    @property
    def alert(self) -> float:
        """What scorers alert from, as far as suspects are kept."""
        return max(self._alert, LOWEST)

    @property
    def start(self) -> float:
        """The same, as a step of the pages' sliders."""
        return round(self.alert, 2)

    def _take(self, manifest: bytes) -> None:
        self._alert = self._settings.scoring.threshold(json.loads(manifest).get("threshold"))

    def _take_champion(self, models: Models) -> None:
        if models.roles is not None:
            self._take(models.package(models.roles.champion).manifest)

    def _follow(self) -> None:
        while True:
            try:
                follower = ModelFollower(self._settings.kafka)
                try:
                    self._take_champion(follower.catch_up())
                    while True:
                        time.sleep(_LOOK_SECONDS)
                        if follower.poll():
                            self._take_champion(follower.models)
                finally:
                    follower.close()
            except FraudflowError as error:
                logger.warning("the models' thresholds: %s", error)
                time.sleep(_RETRY_SECONDS)
