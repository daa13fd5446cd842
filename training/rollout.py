"""Which model scores, and which one is tried beside it, written where the scorers look."""

import getpass
import os

from infra.errors import TerminalError
from infra.model_store import Bounds, ModelStore, Package, Roles
from infra.settings import Settings
from scoring.model import model_file, read_package

SHADOW, CANARY = "shadow", "canary"


def standing_roles(store: ModelStore, settings: Settings) -> Roles:
    """The roles; where nobody has given any, the model of the settings, or the project's own, becomes the champion."""
    roles = store.read().roles
    if roles is not None:
        return roles
    package = _first_model(settings)
    store.publish(package)
    first = Roles(champion=package.version, who=_who(), why="the model that scorers begin with")
    return store.assign(first, expected_generation=0)


def champion_of(store: ModelStore | None, settings: Settings) -> Package:
    """The files of the model that scores; where there are no roles, or no Kafka, the one that scorers begin with."""
    models = store.read() if store else None
    if models is None or models.roles is None:
        return _first_model(settings)
    return models.package(models.roles.champion)


def _first_model(settings: Settings) -> Package:
    return read_package(model_file(settings), settings.scoring.model_sha256)


def make_champion(store: ModelStore, settings: Settings, package: Package, instead_of: str, why: str) -> Roles:
    """Publish a model and let it score; whoever is tried beside the champion is so no longer.

    Again, it changes nothing.

    Args:
        store: of the models.
        settings: name the champion where there are no roles yet.
        package: the new champion.
        instead_of: version of the champion that it was compared with.
        why: for those who read the roles.

    Raises:
        TerminalError: another model is the champion by now.
        RolesChanged: somebody changed the roles meanwhile.
    """
    before = standing_roles(store, settings)
    if before.champion == package.version:
        return before
    if before.champion != instead_of:
        raise TerminalError(
            f"{package.version} was compared with the champion {instead_of}, and meanwhile {before.champion} became "
            "the champion: compare again with `fraudflow promote`"
        )
    store.publish(package)
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
    return store.assign(before.alone(_who(), why), before.generation)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in a container
        return f"user {os.getuid()}"
