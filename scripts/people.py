"""People who look at the dashboard, without their browsers: each is a session that asks again as often as a page does.

A browser draws on its owner's machine, so twenty of them here would measure the drawing. A session speaks what the
page speaks to its server: Streamlit's messages over a WebSocket. The sessions have a process of their own, of the
lowest priority, for what they read is no work of this machine either: `python -m scripts.people URL PATH...` opens
them, says so, and tells what they waited when its standard input ends.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from infra.priority import give_way

_MAX_MESSAGE_BYTES = 64 << 20
_OPEN_SECONDS = 120.0
_OPEN = "open"
# From one person's coming to the next's: what a page asks for every 10 s is asked for by each at another moment.
_APART_SECONDS = 0.5


@dataclass
class Seen:
    """What the sessions have waited for, in seconds."""

    opened: list[float] = field(default_factory=list)
    """Until a page was there in full."""
    refreshed: list[float] = field(default_factory=list)
    """Until a part of a page was there again."""
    exceptions: int = 0


class _Session:
    def __init__(self, socket: ClientConnection, path: str, seen: Seen):
        self._socket, self._seen = socket, seen
        place = urlsplit(path)
        self._page, self._query = place.path.strip("/"), place.query
        self._asked: dict[str, float] = {}
        self._timers: dict[str, asyncio.Task[None]] = {}

    async def live(self) -> None:
        """Open the page and keep it open until cancelled."""
        await self._ask("")
        try:
            async for data in self._socket:
                message = ForwardMsg.FromString(data if isinstance(data, bytes) else data.encode())
                kind = message.WhichOneof("type")
                if kind == "auto_rerun":
                    self._every(message.auto_rerun.fragment_id, message.auto_rerun.interval)
                elif kind == "stop_auto_rerun":
                    self._never(message.stop_auto_rerun.fragment_ids)
                elif kind == "delta":
                    self._seen.exceptions += message.delta.new_element.WhichOneof("type") == "exception"
                elif kind == "script_finished":
                    # Parts that are asked for at the same time are drawn in one run; a whole page names none.
                    parts = message.metadata.run.fragment_ids
                    # Of a part it only says that the next run has begun before this was sent: it is drawn all the same.
                    if parts or message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                        for fragment in parts or [""]:
                            self._finished(fragment)
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _ask(self, fragment: str) -> None:
        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.page_name, state.fragment_id = self._query, self._page, fragment
        state.is_auto_rerun = bool(fragment)
        self._asked.setdefault(fragment, time.monotonic())
        await self._socket.send(message.SerializeToString())

    def _finished(self, fragment: str) -> None:
        asked = self._asked.pop(fragment, None)
        if asked is not None:
            (self._seen.refreshed if fragment else self._seen.opened).append(time.monotonic() - asked)

    def _every(self, fragment: str, seconds: float) -> None:
        async def again() -> None:
            while True:
                await asyncio.sleep(seconds)
                await self._ask(fragment)

        if fragment not in self._timers:
            self._timers[fragment] = asyncio.create_task(again())

    def _never(self, fragments: Iterable[str]) -> None:
        for fragment in fragments:
            self._asked.pop(fragment, None)
            if timer := self._timers.pop(fragment, None):
                timer.cancel()


async def _person(url: str, path: str, seen: Seen, after_seconds: float) -> None:
    await asyncio.sleep(after_seconds)
    address = "ws" + url.removeprefix("http") + "/_stcore/stream"
    async with connect(
        address,
        origin=Origin(url),
        subprotocols=[Subprotocol("streamlit")],
        max_size=_MAX_MESSAGE_BYTES,
        open_timeout=_OPEN_SECONDS,
    ) as socket:
        await _Session(socket, path, seen).live()


@contextmanager
def looking(url: str, paths: Sequence[str], seen: Seen) -> Iterator[None]:
    """One person at each of the paths; they come one by one, are there when the block begins, and leave when it ends.

    What they wait for is added to `seen`.

    Raises:
        RuntimeError: a session ended by itself, or did not open; its traceback is on standard error.
    """
    command = [sys.executable, "-m", "scripts.people", url, *paths]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe
        opened = process.stdout.readline().strip() == _OPEN
        if opened:
            yield
        told, _ = process.communicate()
    if process.returncode or not opened:
        raise RuntimeError("the people did not stay")
    more = Seen(**json.loads(told))
    seen.opened += more.opened
    seen.refreshed += more.refreshed
    seen.exceptions += more.exceptions


async def _everybody(url: str, paths: Sequence[str]) -> Seen:
    seen, deadline, said = Seen(), time.monotonic() + _OPEN_SECONDS, False
    people = {asyncio.create_task(_person(url, path, seen, n * _APART_SECONDS)) for n, path in enumerate(paths)}
    end = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    while not end.done():
        done, _ = await asyncio.wait([*people, end], timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
        for one in done & people:
            one.result()
            raise RuntimeError("the server ended a session")
        if not said and len(seen.opened) >= len(paths):
            print(_OPEN, flush=True)
            said = True
        if not said and time.monotonic() > deadline:
            raise RuntimeError(f"{len(seen.opened)} of {len(paths)} sessions opened")
    for one in people:
        one.cancel()
    await asyncio.gather(*people, return_exceptions=True)
    return seen


def main() -> None:
    """Look until standard input ends."""
    give_way()
    print(json.dumps(asdict(asyncio.run(_everybody(sys.argv[1], sys.argv[2:])))))


if __name__ == "__main__":
    main()
