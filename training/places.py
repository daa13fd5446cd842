"""Where training keeps what it makes, unless the settings name other places."""

from pathlib import Path

from infra.settings import Settings

_DATABASE = "mlflow.db"


def training_home(settings: Settings) -> Path:
    """The folder of histories, runs and the local registry."""
    return settings.local.home.expanduser().resolve() / "training"


def tracking_uri(settings: Settings) -> str:
    """Of MLflow."""
    return settings.training.tracking_uri or f"sqlite:///{training_home(settings) / _DATABASE}"


def artifact_location(settings: Settings) -> str:
    """Of the files of MLflow's runs."""
    return settings.training.artifact_location or (training_home(settings) / "artifacts").as_uri()


def has_registry(settings: Settings) -> bool:
    """Whether there is one: looking into the local one would make it, which takes long."""
    return settings.training.tracking_uri is not None or (training_home(settings) / _DATABASE).is_file()
