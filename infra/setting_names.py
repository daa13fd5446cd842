"""Variables that are named like a setting and are none: pydantic passes over them without a word."""

import os
from collections.abc import Iterator
from difflib import get_close_matches

from pydantic import BaseModel
from pydantic_settings import DotEnvSettingsSource

from infra.errors import TerminalError
from infra.settings import Settings


def unknown_variables() -> dict[str, str | None]:
    """Variables and lines of .env that are named like a setting and are none, each with the setting that is like it.

    Raises:
        TerminalError: .env cannot be read.
    """
    try:
        named = {name.upper() for name in (*os.environ, *DotEnvSettingsSource(Settings).env_vars)}
    except (OSError, UnicodeDecodeError) as error:
        raise TerminalError(f".env of this folder cannot be read: {error}") from error
    known = {name.upper() for name in _names(Settings, "FRAUDFLOW_")} | _NO_SETTINGS
    unknown = sorted(name for name in named if name.startswith("FRAUDFLOW_") and name not in known)
    return {name: next(iter(get_close_matches(name, known, 1)), None) for name in unknown}


# Of the stack's own processes, and of the deployments on ECS.
_NO_SETTINGS = {
    "FRAUDFLOW_STACK_HOME",
    "FRAUDFLOW_WORK_POOL",
    "FRAUDFLOW_DEPLOYMENT_VERSION",
    "FRAUDFLOW_DASHBOARD_LOGIN",
}


def _names(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, of in model.model_fields.items():
        yield prefix + name
        if isinstance(of.annotation, type) and issubclass(of.annotation, BaseModel):
            yield from _names(of.annotation, f"{prefix}{name}__")
