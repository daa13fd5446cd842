"""What the member's image has: `python -m infra.aws.member_image FOLDER` puts the jars and the configuration there."""

import shutil
import sys
from pathlib import Path

from infra.local import jars
from infra.settings import LocalSettings


def fill(folder: Path, local: LocalSettings) -> None:
    """Copy Hazelcast's jars, each checked against the lock file, and the configuration for ECS.

    Raises:
        TerminalError: a jar is not what the lock file says.
        TransientError: the repository is away.
    """
    library = folder / "lib"
    library.mkdir(parents=True, exist_ok=True)
    for jar in jars.ensure(jars.locked("hazelcast"), local, print):
        _copy(jar, library)
    _copy(Path(__file__).with_name("hazelcast.yaml"), folder)


def _copy(file: Path, folder: Path) -> None:
    """For everybody to read and nobody to write: the member is another user than the one who builds."""
    target = folder / file.name
    shutil.copyfile(file, target)
    target.chmod(0o444)


if __name__ == "__main__":
    fill(Path(sys.argv[1]), LocalSettings())
