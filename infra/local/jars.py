"""The jars of Kafka and Hazelcast: fetched from a Maven repository, and checked against `jars.lock`.

There is no resolver at run time: what is not in the lock file is not run, and a changed byte is refused.
"""

import base64
import hashlib
import http.client
import os
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.errors import TerminalError, TransientError, passes
from infra.settings import LocalSettings

LOCK_FILE = Path(__file__).with_name("jars.lock")

# More than a handful gain nothing from one host, and some repositories throttle a crowd.
_PARALLEL_DOWNLOADS = 8
# The longest silence of a repository that is still taken for slow rather than gone.
_READ_TIMEOUT_SECONDS = 30
_ATTEMPTS = 3


@dataclass(frozen=True)
class Jar:
    """One line of the lock file."""

    server: str
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinates(self) -> str:
        """As Maven writes them."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        """Its name in the repository and in the cache."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Where a Maven repository keeps it."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file_name}"


def locked(server: str, lock_file: Path = LOCK_FILE) -> list[Jar]:
    """The jars that `server` ("kafka" or "hazelcast") runs, in the order of its class path."""
    jars = []
    for line in lock_file.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, coordinates, sha256 = line.split()
        group, artifact, version = coordinates.split(":")
        if name == server:
            jars.append(Jar(name, group, artifact, version, sha256))
    return jars


def ensure(jars: Sequence[Jar], local: LocalSettings, progress: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Have every jar in the cache with the bytes that the lock names; fetch what is not there.

    What is cached is read and checked too, each time: 0.2 s for all of them.

    Raises:
        TransientError: the repository did not answer.
        TerminalError: it has no such jar, or a jar with other bytes.
    """
    folder = local.cache.expanduser() / "jars"
    # Two groups may have jars of one name, so the cache keeps the repository's own layout.
    targets = [folder / jar.path for jar in jars]
    missing = [(jar, target) for jar, target in zip(jars, targets, strict=True) if _sha256(target) != jar.sha256]
    if not missing:
        return targets
    progress(f"Fetching {len(missing)} jars of {missing[0][0].server} from {_shown(local.maven_repository)}")
    started = time.monotonic()
    with ThreadPoolExecutor(_PARALLEL_DOWNLOADS, thread_name_prefix="jars") as pool:
        downloads = [pool.submit(_download, jar, target, local.maven_repository) for jar, target in missing]
        try:
            size = sum(download.result() for download in downloads)
        finally:
            for download in downloads:
                download.cancel()
    progress(
        f"Fetched {len(missing)} jars of {missing[0][0].server}, {size / 1e6:.0f} MB "
        f"({time.monotonic() - started:.1f} s)"
    )
    return targets


def _download(jar: Jar, target: Path, repository: str) -> int:
    """Put one jar in its place, whole and checked, or not at all. Returns its size."""
    url = f"{repository.rstrip('/')}/{jar.path}"
    body = _get(jar, url)
    found = hashlib.sha256(body).hexdigest()
    if found != jar.sha256:
        raise TerminalError(
            f"{jar.coordinates} from {_shown(url)} has sha256 {found}, and jars.lock says {jar.sha256}: "
            f"it was not kept. Look at what stands between this machine and the repository, "
            f"or name another one in FRAUDFLOW_LOCAL__MAVEN_REPOSITORY"
        )
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{jar.file_name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
        os.replace(temporary, target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise TerminalError(f"cannot keep {jar.coordinates} as {target}: {error}") from error
    return len(body)


def _get(jar: Jar, url: str) -> bytes:
    if urllib.parse.urlsplit(url).scheme not in {"https", "http", "file"}:
        raise TerminalError(f"FRAUDFLOW_LOCAL__MAVEN_REPOSITORY must be a https, http or file URL: {_shown(url)}")
    last: Exception | None = None
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(_request(url), timeout=_READ_TIMEOUT_SECONDS) as response:  # noqa: S310
                return response.read()
        except urllib.error.HTTPError as error:
            if not passes(error.code):
                raise TerminalError(
                    f"{jar.coordinates}: {_shown(url)} answers {error.code} {error.reason}. "
                    f"Name a Maven repository that has it in FRAUDFLOW_LOCAL__MAVEN_REPOSITORY"
                ) from error
            last = error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(getattr(error, "reason", None), FileNotFoundError):
                raise TerminalError(f"{jar.coordinates}: there is no {_shown(url)}") from error
            last = error
        if attempt < _ATTEMPTS:
            time.sleep(attempt)
    raise TransientError(
        f"{jar.coordinates}: {_shown(url)} cannot be read ({last}). Check the network and try again, or name "
        f"another repository in FRAUDFLOW_LOCAL__MAVEN_REPOSITORY; jars that were fetched are kept"
    ) from last


def _request(url: str) -> urllib.request.Request:
    """The request for a URL, with the user and password in it where HTTP wants them."""
    request = urllib.request.Request(_shown(url))  # noqa: S310 - the scheme was looked at
    login, at, _ = urllib.parse.urlsplit(url).netloc.rpartition("@")
    if at:
        token = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
        # Not sent on to where the repository may redirect to.
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # not there, or not readable: fetched again, and what stands in the way then is told
        return None


def _shown(url: str) -> str:
    """The URL without the user and password that it may carry."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
