"""The models that there are: MLflow's registry, with the aliases `champion` and `challenger`.

Runs and versions are rows of a SQLite file in the stack's home unless a server is named, and a version's files lie
beside it or on S3. `mlflow-skinny` is enough for that; the pages are `mlflow ui --backend-store-uri <tracking uri>` in
an environment of their own, because MLflow's server brings more packages than all of training has.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Before MLflow is imported. It would tell its makers of each use, look for git, and draw bars into logs.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from infra.errors import TerminalError, TransientError, passes
from infra.model_store import Package
from infra.settings import Settings
from scoring.model import read_package
from training.places import artifact_location, tracking_uri, training_home
from training.served import MODEL_FILE

CHAMPION, CHALLENGER = "champion", "challenger"
_FOLDER = "model"


@dataclass(frozen=True)
class Version:
    """A version of the model in the registry."""

    version: str
    model_version: str
    """The first characters of the file's sha256: what every prediction names."""
    created: datetime
    aliases: tuple[str, ...]
    average_precision: float | None
    inputs: int | None
    tags: dict[str, str]


class Registry:
    """MLflow, as the settings name it."""

    def __init__(self, settings: Settings):
        """Connect; a local database is made at the first use.

        Raises:
            TransientError: the server does not answer.
        """
        self._name = settings.training.model_name
        self.uri, self._artifacts = tracking_uri(settings), artifact_location(settings)
        if not settings.training.tracking_uri:
            training_home(settings).mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(self.uri)

    def register(
        self, directory: Path, model_version: str, metrics: Mapping[str, float], parameters: Mapping[str, Any]
    ) -> str:
        """Keep a model's files as a new version, which becomes the challenger. Returns its number."""
        with self._asking():
            run = self._client.create_run(self._experiment(), run_name=model_version)
            at = run.info.start_time
            self._client.log_batch(
                run.info.run_id,
                [Metric(name, value, at, 0) for name, value in metrics.items()],
                [Param(name, str(value)) for name, value in parameters.items()],
            )
            self._client.log_artifacts(run.info.run_id, str(directory), _FOLDER)
            with self._unless_there():
                self._client.create_registered_model(self._name)
            made = self._client.create_model_version(
                self._name,
                f"{run.info.artifact_uri}/{_FOLDER}",
                run.info.run_id,
                tags={
                    "model_version": model_version,
                    "average_precision": repr(metrics.get("average_precision", 0.0)),
                    "inputs": str(parameters.get("inputs", "")),
                    "history": str(parameters.get("history", "")),
                    "run": str(parameters.get("run", "")),
                },
            )
            self._client.set_terminated(run.info.run_id)
            self._client.set_registered_model_alias(self._name, CHALLENGER, made.version)
            return str(made.version)

    def versions(self) -> list[Version]:
        """All versions, the newest first."""
        with self._asking():
            found = self._client.search_model_versions(f"name = '{self._name}'", max_results=1_000)
            try:
                aliases = self._client.get_registered_model(self._name).aliases
            except MlflowException as error:
                if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                    raise
                return []
        versions = [_version(one, [a for a, v in aliases.items() if str(v) == str(one.version)]) for one in found]
        return sorted(versions, key=lambda one: -int(one.version))

    def version(self, named: str | None = None) -> Version:
        """A version by its number, an alias, or the beginning of the file's sha256; left out, the challenger.

        Raises:
            TerminalError: there is none.
        """
        wanted = named or CHALLENGER
        for one in self.versions():
            if wanted == one.version or wanted in one.aliases or (len(wanted) > 5 and wanted in one.model_version):
                return one
        raise TerminalError(
            f"the registry at {self.uri} has no model {wanted}: of those that `fraudflow models` lists, it has "
            "those with a number; `fraudflow train` makes one"
        )

    def made_by(self, run: str) -> Version:
        """The version that a flow run made, by its id.

        Raises:
            TerminalError: there is none.
        """
        for one in self.versions():
            if one.tags.get("run") == run:
                return one
        raise TerminalError(f"the registry at {self.uri} has no model of run {run}")

    def package(self, version: Version) -> Package:
        """The files of a version.

        Raises:
            TransientError: they cannot be had.
            TerminalError: what is kept there is no model that can be served.
        """
        with tempfile.TemporaryDirectory() as place, self._asking():
            run = self._client.get_model_version(self._name, version.version).run_id
            folder = Path(self._client.download_artifacts(str(run), _FOLDER, place))
            return read_package(folder / MODEL_FILE)

    def reports(self, version: Version, directory: Path) -> None:
        """Write a version's report to a folder, for people (report.md) and for programs (report.json)."""
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as place, self._asking():
            run = self._client.get_model_version(self._name, version.version).run_id
            for name in ("report.md", "report.json"):
                found = self._client.download_artifacts(str(run), f"{_FOLDER}/{name}", place)
                shutil.copyfile(found, directory / name)

    def set_alias(self, alias: str, version: Version) -> None:
        """Give a version an alias, which another one had before."""
        with self._asking():
            self._client.set_registered_model_alias(self._name, alias, version.version)
            if alias == CHAMPION and CHALLENGER in version.aliases:
                self._client.delete_registered_model_alias(self._name, CHALLENGER)

    def tag(self, version: Version, name: str, value: str) -> None:
        """Write something about a version down."""
        with self._asking():
            self._client.set_model_version_tag(self._name, version.version, name, value)

    def _experiment(self) -> str:
        with self._unless_there():
            return self._client.create_experiment(self._name, self._artifacts)
        known = self._client.get_experiment_by_name(self._name)
        if known is None:
            raise TransientError(f"MLflow at {self.uri} has experiment {self._name}, and has it not")
        return known.experiment_id

    @contextmanager
    def _unless_there(self) -> Iterator[None]:
        """Make something, unless somebody has just done so."""
        try:
            yield
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """What MLflow's errors are to us.

        Raises:
            TransientError: it is away or busy.
            TerminalError: it refuses the login or the question.
        """
        try:
            yield
        except MlflowException as error:
            if passes(error.get_http_status_code()):
                raise TransientError(f"MLflow at {self.uri} does not answer as it should: {error}") from error
            raise TerminalError(f"MLflow at {self.uri} refuses: {error}") from error
        except OSError as error:
            raise TransientError(f"the files of MLflow at {self.uri} cannot be moved: {error}") from error


def _version(found: ModelVersion, aliases: list[str]) -> Version:
    tags = dict(found.tags)
    return Version(
        version=str(found.version),
        model_version=tags.pop("model_version", ""),
        created=datetime.fromtimestamp((found.creation_timestamp or 0) / 1000, UTC),
        aliases=tuple(sorted(aliases)),
        average_precision=float(tags.pop("average_precision", "nan")),
        inputs=int(tags.pop("inputs", "") or 0),
        tags=tags,
    )
