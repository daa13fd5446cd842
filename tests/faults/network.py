"""Networks between scorers and their servers that break, are slow, lose answers, and come apart.

Proxies. TCP does not lose a piece out of the middle of a connection: where an answer is lost, its connection is too.
"""

import asyncio
import struct
import threading
from collections import Counter
from collections.abc import Collection
from enum import IntEnum
from typing import Self

from infra.local import ports

_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
"""Where pieces of one direction come from, and where they go."""

_PIECE_BYTES = 65_536


class Request(IntEnum):
    """The requests of a Kafka transaction, by their number in the protocol."""

    PRODUCE = 0
    ADD_PARTITIONS = 24
    ADD_OFFSETS = 25
    END = 26
    OFFSETS = 28


class Network:
    """One way to one server. Set its troubles at any time, from any thread."""

    def __init__(self, upstream: int):
        """`upstream`: the port where the server listens for those who come this way."""
        self.upstream = upstream
        self.port = ports.choose(0, setting="")
        self._one_way_seconds = 0.0
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._connected, ports.HOST, self.port), self._loop
        ).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def address(self) -> str:
        """Where a client begins who shall come this way."""
        return f"{ports.HOST}:{self.port}"

    def slow(self, one_way_seconds: float) -> None:
        """Let everything take so much longer, each way."""
        self._one_way_seconds = one_way_seconds

    def cut(self) -> None:
        """Break all connections."""
        self._loop.call_soon_threadsafe(self._abort, self._open)

    def mend(self) -> None:
        """No trouble any more."""
        self._one_way_seconds = 0.0

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _abort(writers: Collection[asyncio.StreamWriter]) -> None:
        for writer in writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(ports.HOST, self.upstream)
        except OSError:  # the server is away, and so is the way to it
            writer.transport.abort()
            return
        both = {writer, back}
        self._open |= both
        try:
            await self._carry((reader, back), (there, writer))
        except* (OSError, EOFError):
            pass  # one side has ended the connection, or it was cut: the other shall see it
        finally:
            self._open -= both
            self._abort(both)

    async def _carry(self, there: _Ends, back: _Ends) -> None:
        """Carry what comes, both ways, until one side ends."""
        async with asyncio.TaskGroup() as group:
            for reader, writer in (there, back):
                group.create_task(self._pass(reader, _Way(writer)))

    async def _pass(self, reader: asyncio.StreamReader, way: "_Way") -> None:
        while piece := await reader.read(_PIECE_BYTES):
            await way.send(piece, self._one_way_seconds)
        raise EOFError


class KafkaNetwork(Network):
    """Knows where requests and answers begin and end, and which answer is of which request."""

    def __init__(self, upstream: int):
        super().__init__(upstream)
        self.lost: Counter[int] = Counter()
        self.held = 0
        self._answers: Counter[int] = Counter()
        self._losing: frozenset[int] = frozenset()
        self._every, self._hold_seconds = 1, 0.0

    def lose(self, requests: Collection[int], every: int) -> None:
        """Of each of these kinds of requests, lose every so-manieth answer, with its connection."""
        self._answers.clear()
        self._every, self._losing = every, frozenset(requests)

    def hold(self, seconds: float) -> None:
        """Keep the answer to the next end of a transaction, and all behind it, for so long."""
        self._hold_seconds = seconds

    def mend(self) -> None:
        super().mend()
        self._losing, self._hold_seconds = frozenset(), 0.0

    async def _carry(self, there: _Ends, back: _Ends) -> None:
        asked: dict[int, int] = {}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask(*there, asked))
            group.create_task(self._answer(*back, asked))

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, int]) -> None:
        way = _Way(writer)
        while True:
            frame = await _frame(reader)
            kind, _, number = struct.unpack(">hhi", frame[4:12])
            asked[number] = kind
            await way.send(frame, self._one_way_seconds)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, int]) -> None:
        way = _Way(writer)
        while True:
            frame = await _frame(reader)
            kind = asked.pop(struct.unpack(">i", frame[4:8])[0])
            if self._loses(kind):
                raise EOFError
            if kind == Request.END and self._hold_seconds:
                seconds, self._hold_seconds = self._hold_seconds, 0.0
                self.held += 1
                await asyncio.sleep(seconds)
            await way.send(frame, self._one_way_seconds)

    def _loses(self, kind: int) -> bool:
        if kind not in self._losing:
            return False
        self._answers[kind] += 1
        if self._answers[kind] % self._every:
            return False
        self.lost[kind] += 1
        return True


class MemberNetwork(Network):
    """Tells the members of Hazelcast from its clients: each says first what it is."""

    def __init__(self, upstream: int):
        super().__init__(upstream)
        self._apart = False
        self._members: set[asyncio.StreamWriter] = set()

    def part(self) -> None:
        """No other member gets here; clients do."""
        self._apart = True
        self._loop.call_soon_threadsafe(self._abort, self._members)

    def mend(self) -> None:
        super().mend()
        self._apart = False

    async def _carry(self, there: _Ends, back: _Ends) -> None:
        reader, writer = there
        greeting = await reader.readexactly(3)
        of_members = {back[1]} if greeting == b"HZC" else set()
        if of_members and self._apart:
            raise EOFError
        self._members |= of_members
        try:
            writer.write(greeting)
            await super()._carry(there, back)
        finally:
            self._members -= of_members


class _Way:
    """One direction of one connection. What comes first arrives first, however long each takes."""

    def __init__(self, writer: asyncio.StreamWriter):
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._last = 0.0

    async def send(self, frame: bytes, seconds: float) -> None:
        self._last = max(self._last, self._loop.time() + seconds)
        if self._last > self._loop.time():
            self._loop.call_at(self._last, self._writer.write, frame)
        else:
            self._writer.write(frame)
            await self._writer.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """One request or answer, with its length before it."""
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack(">i", head)[0])
