"""Which model scores, and which one is tried beside it: judged on the same rows, then written where scorers look."""

import getpass
from dataclasses import dataclass
from pathlib import Path

import msgspec

from infra.errors import TerminalError
from infra.model_store import Bounds, ModelStore, Package, Roles
from infra.settings import Settings
from scoring.model import PROJECT_MODEL
from training.dataset import Dataset
from training.learn import judged
from training.metrics import Metrics
from training.package import MODEL_FILE, read_package
from training.registry import Registry, Version
from training.served import Served
from training.split import Part

SHADOW, CANARY = "shadow", "canary"


@dataclass(frozen=True)
class Comparison:
    """A challenger and the champion on the same rows."""

    challenger: Metrics
    champion: Metrics

    @property
    def refusal(self) -> str | None:
        """Why the challenger is worse; None if it is not."""
        new, old = self.challenger, self.champion
        if new.average_precision < old.average_precision:
            return f"its average precision is {new.average_precision:.4f}, the champion's {old.average_precision:.4f}"
        if new.money.saved < old.money.saved:
            return f"at its threshold it saves {new.money.saved:,.0f}, the champion {old.money.saved:,.0f}"
        return None


def compare(dataset: Dataset, part: Part, challenger: Served, champion: Served, settings: Settings) -> Comparison:
    """Judge both on the rows of a part, each at its own threshold."""
    return Comparison(
        judge_served(dataset, part, challenger, settings), judge_served(dataset, part, champion, settings)
    )


def judge_served(dataset: Dataset, part: Part, model: Served, settings: Settings) -> Metrics:
    """How good a model is as scorers serve it."""
    threshold = model.manifest.threshold
    at = settings.scoring.alert_threshold if threshold is None else threshold
    return judged(dataset, part, model.predict_part(dataset, part), at, settings.training)


def standing_roles(store: ModelStore, settings: Settings) -> Roles:
    """The roles; where nobody has given any, the model of the settings, or the project's own, becomes the champion."""
    roles = store.read().roles
    if roles is not None:
        return roles
    package = read_package(settings.scoring.model or PROJECT_MODEL)
    store.publish(package)
    first = Roles(champion=package.version, who=_who(), why="the model that scorers begin with")
    return store.assign(first, expected_generation=0)


def champion_of(store: ModelStore | None, settings: Settings) -> Package:
    """The files of the model that scores; where there are no roles, or no Kafka, the one that scorers begin with."""
    models = store.read() if store else None
    if models is None or models.roles is None:
        return read_package(settings.scoring.model or PROJECT_MODEL)
    return models.package(models.roles.champion)


def fetched(registry: Registry, version: Version, place: Path) -> Package:
    """A version's files from the registry, by way of a folder."""
    return read_package(registry.fetch(version, place / "model") / MODEL_FILE)


def make_champion(store: ModelStore, settings: Settings, package: Package, why: str) -> Roles:
    """Publish a model and let it score; whoever is tried beside the champion is so no longer.

    Raises:
        RolesChanged: somebody changed the roles meanwhile.
    """
    before = standing_roles(store, settings)
    store.publish(package)
    if before.champion == package.version:
        raise TerminalError(f"{package.version} is the champion already")
    return store.assign(Roles(champion=package.version, who=_who(), why=why), before.generation)


def try_beside(
    store: ModelStore, settings: Settings, package: Package, share: float | None, bounds: Bounds, why: str
) -> Roles:
    """Publish a model and let it score beside the champion.

    Args:
        store: of the models.
        settings: name the champion where there are no roles yet.
        package: the challenger.
        share: of the cards for which it decides, as a canary; None: it decides nothing, as a shadow.
        bounds: what it must keep to.
        why: for those who read the roles.

    Raises:
        RolesChanged: somebody changed the roles meanwhile.
    """
    before = standing_roles(store, settings)
    store.publish(package)
    roles = Roles(
        champion=before.champion,
        challenger=package.version,
        mode=SHADOW if share is None else CANARY,
        canary_share=share or 0.0,
        bounds=bounds,
        who=_who(),
        why=why,
    )
    return store.assign(roles, before.generation)


def stop_trial(store: ModelStore, why: str) -> Roles:
    """Let the champion alone score.

    Raises:
        TerminalError: nothing is being tried.
        RolesChanged: somebody changed the roles meanwhile.
    """
    before = store.read().roles
    if before is None or before.challenger is None:
        raise TerminalError("no model is being tried beside the champion")
    after = msgspec.structs.replace(before, challenger=None, mode=None, canary_share=0.0, who=_who(), why=why)
    return store.assign(after, before.generation)


def _who() -> str:
    return getpass.getuser()
