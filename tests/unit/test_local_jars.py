"""Jars: the bytes that the lock names, or none, from a repository that may be slow, wrong, gone or guarded."""

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.errors import TerminalError, TransientError
from infra.local import jars, ports
from infra.local.jars import Jar
from infra.settings import LocalSettings

BODY = b"PK\x03\x04 not much of a jar"


class Repository(ThreadingHTTPServer):
    """A Maven repository that answers as the test wants; it counts what it was asked for."""

    answer: Callable[[BaseHTTPRequestHandler, int], None]

    def __init__(self) -> None:
        super().__init__((ports.HOST, 0), _Handler)
        self.asked: list[str] = []
        self.url = f"http://{ports.HOST}:{self.server_port}"
        self.answer = lambda handler, _: reply(handler, 200, BODY)


class _Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.answer(self, self.server.asked.count(self.path))

    def log_message(self, *_: object) -> None:
        pass


def reply(handler: BaseHTTPRequestHandler, code: int, body: bytes, *, length: int | None = None) -> None:
    handler.send_response(code)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def repository() -> Iterator[Repository]:
    with Repository() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars.time, "sleep", lambda _: None)


def jar(artifact: str = "thing", body: bytes = BODY) -> Jar:
    return Jar("kafka", "org.example", artifact, "1.0", hashlib.sha256(body).hexdigest())


def local(tmp_path: Path, url: str) -> LocalSettings:
    return LocalSettings(cache=tmp_path / "cache", maven_repository=url)


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_a_jar_is_fetched_once(tmp_path: Path, repository: Repository) -> None:
    settings = local(tmp_path, repository.url)
    (path,) = jars.ensure([jar()], settings)
    assert path.read_bytes() == BODY
    assert jars.ensure([jar()], settings) == [path]
    assert repository.asked == ["/org/example/thing/1.0/thing-1.0.jar"]


def test_other_bytes_are_refused_and_not_kept(tmp_path: Path, repository: Repository) -> None:
    expected = jar(body=b"what was locked")
    with pytest.raises(TerminalError, match="sha256") as caught:
        jars.ensure([expected], local(tmp_path, repository.url))
    assert expected.sha256 in str(caught.value)
    assert hashlib.sha256(BODY).hexdigest() in str(caught.value)
    assert kept(tmp_path) == []


def test_a_cached_jar_that_changed_is_fetched_again(tmp_path: Path, repository: Repository) -> None:
    settings = local(tmp_path, repository.url)
    (path,) = jars.ensure([jar()], settings)
    path.write_bytes(BODY[:-1] + b"?")
    jars.ensure([jar()], settings)
    assert path.read_bytes() == BODY
    assert len(repository.asked) == 2


def test_a_missing_jar_names_the_setting_and_is_not_tried_again(tmp_path: Path, repository: Repository) -> None:
    repository.answer = lambda handler, _: reply(handler, 404, b"")
    with pytest.raises(TerminalError, match=r"404.*FRAUDFLOW_LOCAL__MAVEN_REPOSITORY"):
        jars.ensure([jar()], local(tmp_path, repository.url))
    assert len(repository.asked) == 1


def test_an_unreachable_repository_may_be_there_later(tmp_path: Path) -> None:
    nowhere = f"http://{ports.HOST}:{ports.choose(0, setting='')}"
    with pytest.raises(TransientError, match=r"org.example:thing:1.0.*FRAUDFLOW_LOCAL__MAVEN_REPOSITORY"):
        jars.ensure([jar()], local(tmp_path, nowhere))


def test_a_busy_repository_is_asked_again(tmp_path: Path, repository: Repository) -> None:
    repository.answer = lambda handler, time: reply(handler, 503, b"") if time < 3 else reply(handler, 200, BODY)
    (path,) = jars.ensure([jar()], local(tmp_path, repository.url))
    assert path.read_bytes() == BODY


def test_a_connection_cut_in_the_middle_is_tried_again(tmp_path: Path, repository: Repository) -> None:
    def cut_once(handler: BaseHTTPRequestHandler, time: int) -> None:
        reply(handler, 200, BODY[:5] if time == 1 else BODY, length=len(BODY))

    repository.answer = cut_once
    (path,) = jars.ensure([jar()], local(tmp_path, repository.url))
    assert path.read_bytes() == BODY


def test_what_was_fetched_before_a_failure_is_not_fetched_again(tmp_path: Path, repository: Repository) -> None:
    settings = local(tmp_path, repository.url)
    wanted = [jar("first"), jar("second", b"what was locked")]
    with pytest.raises(TerminalError, match="second"):
        jars.ensure(wanted, settings)
    assert kept(tmp_path) == ["first-1.0.jar"]
    repository.answer = lambda handler, _: reply(handler, 200, b"what was locked")
    jars.ensure(wanted, settings)
    assert kept(tmp_path) == ["first-1.0.jar", "second-1.0.jar"]
    assert repository.asked.count("/org/example/first/1.0/first-1.0.jar") == 1


def test_a_folder_can_be_the_repository(tmp_path: Path) -> None:
    source = tmp_path / "mirror" / jar().path
    source.parent.mkdir(parents=True)
    source.write_bytes(BODY)
    settings = local(tmp_path, (tmp_path / "mirror").as_uri())
    (path,) = jars.ensure([jar()], settings)
    assert path.read_bytes() == BODY
    with pytest.raises(TerminalError, match="there is no file://"):
        jars.ensure([jar("other")], settings)


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TerminalError, match="https, http or file"):
        jars.ensure([jar()], local(tmp_path, "ftp://example.org"))


def test_a_guarded_repository_gets_the_login_and_no_message_has_it(tmp_path: Path, repository: Repository) -> None:
    expected = "Basic " + base64.b64encode(b"ann:s3cr:et").decode()
    guarded = repository.url.replace("http://", "http://ann:s3cr%3Aet@")

    def only_ann(handler: BaseHTTPRequestHandler, _: int) -> None:
        reply(handler, 200 if handler.headers["Authorization"] == expected else 401, BODY)

    repository.answer = only_ann
    said: list[str] = []
    (path,) = jars.ensure([jar()], local(tmp_path, guarded), said.append)
    assert path.read_bytes() == BODY
    repository.answer = lambda handler, _: reply(handler, 403, b"")
    with pytest.raises(TerminalError, match="403") as caught:
        jars.ensure([jar("other")], local(tmp_path, guarded), said.append)
    assert "s3cr" not in " ".join([*said, str(caught.value)])


def test_the_lock_file_names_both_servers_whole() -> None:
    for server in ("kafka", "hazelcast"):
        locked = jars.locked(server)
        assert locked
        assert all(len(one.sha256) == 64 for one in locked)
        assert len({one.coordinates for one in locked}) == len(locked)


def test_a_cache_that_cannot_be_written_is_told_of(tmp_path: Path, repository: Repository) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(TerminalError, match=r"cannot keep org.example:thing:1.0 as .*cache/jars"):
        jars.ensure([jar()], local(tmp_path, repository.url))
