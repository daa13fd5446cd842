"""Files that lie in S3, named `s3://bucket/key`: copied here once, and again only when they are others there.

Beside each copy stands which object it is of (the ETag) and the copy's own sha256. A copy that was damaged since, or
whose object was replaced, is fetched anew; what is on its way is checked by botocore against S3's checksum.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from infra.errors import InputError, TerminalError

_SCHEME = "s3://"
_CHUNK_BYTES = 8 << 20

# Told the name, and the bytes that have come of how many.
Progress = Callable[[str, int, int], None]


def is_s3(place: str) -> bool:
    """Whether it names something in S3, and not a file of this machine."""
    return place.startswith(_SCHEME)


def split(uri: str) -> tuple[str, str]:
    """Bucket and key.

    Raises:
        InputError: it lacks one of them.
    """
    bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
    if not is_s3(uri) or not bucket or not key:
        raise InputError(uri, "is not of the form s3://bucket/key")
    return bucket, key


def fetch(uri: str, cache: Path, region: str, progress: Progress = lambda *_: None) -> Path:
    """A local copy of one object, under its own name.

    Raises:
        InputError: it is not there.
        TerminalError: there is no such bucket, or S3 does not let us; or there is no room here.
        TransientError: S3 is out of reach, or what came was damaged.
    """
    bucket, key = split(uri)
    folder, _, name = key.rpartition("/")
    if name in {"", ".", ".."}:
        raise InputError(uri, "is a folder: name a file in it")
    return fetch_folder(f"{_SCHEME}{bucket}/{folder}", [name], cache, region, progress) / name


def fetch_folder(
    uri: str, names: Sequence[str], cache: Path, region: str, progress: Progress = lambda *_: None
) -> Path:
    """A local folder with copies of these files of a folder in S3; it has what `fetch` raises."""
    folder = uri.rstrip("/")
    bucket, _, prefix = folder.removeprefix(_SCHEME).partition("/")
    # By digest: a key may be "../..", and must not lead out of the cache.
    target = cache / "s3" / hashlib.sha256(folder.encode()).hexdigest()[:16]
    for name in names:
        key = f"{prefix}/{name}" if prefix else name
        try:
            _fetch(region, bucket, key, target / name, progress)
        except OSError as error:
            raise TerminalError(f"cannot keep {folder}/{name} in {target}: {error.strerror}") from error
    return target


def _fetch(region: str, bucket: str, key: str, path: Path, progress: Progress) -> None:
    # boto3 is of the extra `aws`, and half a second that a scorer with a file of its own does without.
    try:
        from botocore.exceptions import ClientError  # noqa: PLC0415

        from infra.aws import client  # noqa: PLC0415
    except ImportError as error:
        raise TerminalError("reading s3:// needs fraudflow's extra `aws`: install it") from error
    uri, known = f"{_SCHEME}{bucket}/{key}", _etag_of(path)
    with client.explaining(f"read {uri}"):
        try:
            answer = client.api("s3", region).get_object(
                Bucket=bucket, Key=key, **({"IfNoneMatch": known} if known else {})
            )
        except ClientError as error:
            if client.code(error) in {"304", "NotModified"}:
                return
            if client.code(error) in {"NoSuchKey", "404"}:
                raise InputError(uri, "is not there") from error
            raise
        _keep(answer, path, lambda done: progress(uri, done, answer["ContentLength"]))


def _etag_of(path: Path) -> str | None:
    """The ETag of what a copy is of; None where there is no copy, or one that is not whole any more."""
    with suppress(OSError, json.JSONDecodeError, KeyError):
        known = json.loads(_note(path).read_text())
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == known["sha256"]:
                return known["etag"]
    return None


def _keep(answer: Any, path: Path, told: Callable[[int], None]) -> None:
    """Write what comes beside its place, and move it there whole: others may be reading, or fetching, the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            digest = _write(answer["Body"], file, told)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
    _note(path).write_text(json.dumps({"etag": answer["ETag"], "sha256": digest}))


def _write(body: Any, file: IO[bytes], told: Callable[[int], None]) -> str:
    digest, done = hashlib.sha256(), 0
    for chunk in body.iter_chunks(_CHUNK_BYTES):
        file.write(chunk)
        digest.update(chunk)
        done += len(chunk)
        told(done)
    return digest.hexdigest()


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")
