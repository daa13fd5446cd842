"""The steps that bring a model from the registry to the scorers."""

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from infra.errors import TerminalError
from infra.model_store import ModelStore
from infra.settings import TrainingSettings, get_settings
from scoring.model import Model, unpack_model
from tasks.retry import transient_only
from tasks.train import HistoryOf
from training.dataset import Dataset
from training.rollout import champion_of, make_champion
from training.split import Part, newest_part


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def history_of(named: str | None) -> HistoryOf:
    """Where the history came from that a version of the registry was trained on."""
    from training.registry import Registry

    registry = Registry(get_settings())
    return HistoryOf(**json.loads(registry.version(named).tags["history"]))


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def find_both(named: str | None) -> dict[str, str]:
    """The version that is to be promoted, and the champion.

    Returns:
        `number` in the registry, `version` and `champion`.

    Raises:
        TerminalError: it is the champion already.
    """
    from training.registry import CHAMPION, Registry

    settings = get_settings()
    registry = Registry(settings)
    version = registry.version(named)
    new, old = version.model_version, champion_of(ModelStore(settings.kafka), settings).version
    if new == old:
        # Scorers know it before the registry does, and the promotion may have ended in between.
        registry.set_alias(CHAMPION, version)
        raise TerminalError(f"{new} is the champion already")
    return {"number": version.version, "version": new, "champion": old}


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def compare_with_champion(number: str, history: str, as_of: datetime | None) -> dict[str, Any]:
    """Judge a version and the champion on the newest labelled transactions; neither has learnt from them, if it can be.

    Returns:
        `against`, the champion with a word on whether it may have; `refusal` (None, if it is not worse), `table` and
        `rows`.
    """
    from training import report
    from training.comparison import LEARNT, compare
    from training.registry import Registry

    settings = get_settings()
    registry = Registry(settings)
    data = Dataset.load(Path(history))
    new = unpack_model(registry.package(registry.version(number)))
    old = unpack_model(champion_of(ModelStore(settings.kafka), settings))
    part, known = _newest_rows(data, settings.training, new, old, as_of)
    judged = compare(data, part, new, old, settings)
    against = f"champion {old.manifest.version}{LEARNT if known else ''}"
    titles = {f"challenger {new.manifest.version}": judged.challenger, against: judged.champion}
    verdict = judged.refusal or "the challenger is not worse"
    get_run_logger().info("on %s rows, against the %s: %s", f"{len(part.rows):,}", against, verdict)
    return {
        "against": against,
        "refusal": judged.refusal,
        "table": report.table(titles),
        "rows": len(part.rows),
    }


def _newest_rows(
    data: Dataset, settings: TrainingSettings, new: Model, old: Model, as_of: datetime | None
) -> tuple[Part, bool]:
    """The newest labelled rows that the version has not learnt from, and whether the champion may have.

    It has not, where there are such rows. There are none on the way back to an earlier model with its own history, and
    perhaps on another history than the champion's.
    """
    from training.comparison import learnt_until

    bound, champions = learnt_until(new), learnt_until(old)
    if champions > bound:
        with suppress(TerminalError):
            return newest_part(data, settings, champions, as_of), False
    return newest_part(data, settings, bound, as_of), champions > bound


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=transient_only, cache_policy=NO_CACHE)
def crown(number: str, instead_of: str, why: str) -> dict[str, Any]:
    """Make a version the champion: for the scorers first, then in the registry, which only remembers it.

    Args:
        number: of the version in the registry.
        instead_of: version of the champion that it was compared with.
        why: for those who read the roles.

    Raises:
        TerminalError: another model is the champion by now.
    """
    from training.registry import CHAMPION, Registry

    settings = get_settings()
    registry = Registry(settings)
    version = registry.version(number)
    package = registry.package(version)
    roles = make_champion(ModelStore(settings.kafka), settings, package, instead_of, why)
    registry.set_alias(CHAMPION, version)
    get_run_logger().info("%s scores from now on (generation %d)", package.version, roles.generation)
    return {"version": version.version, "model_version": package.version, "generation": roles.generation}
