"""The dashboard's container: `python -m infra.aws.serve_dashboard PORT`.

Streamlit reads its OIDC login from a file alone, and ECS gives secrets as variables alone: the one becomes the other,
readable by this user only, and is no longer a variable of the server.
"""

import os
import sys

from infra.local import dashboard_server
from infra.settings import Settings, get_settings

LOGIN = "FRAUDFLOW_DASHBOARD_LOGIN"
"""The variable with what a secrets.toml has in it."""


def prepare(settings: Settings) -> None:
    """Put the login, if there is one, where `settings.dashboard.secrets` then says."""
    login = os.environ.pop(LOGIN, None)
    if login is None:
        return
    path = settings.local.home.expanduser() / "secrets.toml"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path, "w", opener=_private) as file:
        file.write(login)
    settings.dashboard.secrets = path
    # The app, which the server starts, asks the settings whether people have to log in.
    os.environ["FRAUDFLOW_DASHBOARD__SECRETS"] = str(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def main() -> None:
    """Become the server."""
    settings = get_settings()
    prepare(settings)
    command = [sys.executable, *dashboard_server.arguments(settings.dashboard, int(sys.argv[1]))]
    os.execv(command[0], command)  # noqa: S606 - no shell, and SIGTERM reaches it


if __name__ == "__main__":
    main()
