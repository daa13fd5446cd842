"""People who look at the dashboard, without their browsers: each is a session that asks again as often as a page does.

A browser draws on its owner's machine, so twenty of them here would measure the drawing. A session speaks what the
page speaks to its server: Streamlit's messages over a WebSocket.
"""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

_MAX_MESSAGE_BYTES = 64 << 20
_OPEN_SECONDS = 120.0


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
        current = ""
        try:
            async for data in self._socket:
                message = ForwardMsg.FromString(data if isinstance(data, bytes) else data.encode())
                kind = message.WhichOneof("type")
                if kind == "new_session":
                    current = ""
                elif kind == "auto_rerun":
                    self._every(message.auto_rerun.fragment_id, message.auto_rerun.interval)
                elif kind == "delta":
                    current = message.delta.fragment_id
                    self._seen.exceptions += message.delta.new_element.WhichOneof("type") == "exception"
                elif kind == "script_finished":
                    part = message.script_finished == ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY
                    self._finished(current if part else "")
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


async def _person(url: str, path: str, seen: Seen) -> None:
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
    """One person at each of the paths; they are all there when the block begins, and leave when it ends.

    What they wait for is added to `seen`.

    Raises:
        RuntimeError: a session ended by itself, or did not open.
    """
    failures: list[Exception] = []
    before = len(seen.opened)
    loop = asyncio.new_event_loop()

    async def everybody() -> None:
        tasks = [asyncio.create_task(_person(url, path, seen)) for path in paths]
        try:
            await asyncio.gather(*tasks)
        except Exception as error:  # noqa: BLE001 - told to the caller's thread below
            failures.append(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    main = loop.create_task(everybody())
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.wait([main]),), daemon=True)
    thread.start()
    deadline = time.monotonic() + _OPEN_SECONDS
    try:
        while len(seen.opened) - before < len(paths) and not failures:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(seen.opened) - before} of {len(paths)} sessions opened")
            time.sleep(0.05)
        yield
    finally:
        loop.call_soon_threadsafe(main.cancel)
        thread.join()
    if failures:
        raise RuntimeError("a session ended by itself") from failures[0]
