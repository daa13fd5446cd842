"""Calls that may never come back, out of the way of the process that waits for them.

librdkafka's `send_offsets_to_transaction` does not keep to its timeout while the group's coordinator is away, and may
go on waiting for one that is back (librdkafka#5456, #5511): seen in 4 of 12 restarts of a killed broker, and every
second time that a connection broke under an answer to produce.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

# After a call's time, until it counts as one that does not come back.
LATE_SECONDS = 2.0


class DaemonThread:
    """An executor of one thread. Unlike `ThreadPoolExecutor`'s, a process that ends does not wait for it."""

    def __init__(self, name: str):
        self._calls: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, call: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Run a call after those before it. `result(seconds)` of the future raises TimeoutError: then forget both."""
        future: Future[T] = Future()
        self._calls.put((future, call, arguments))
        return future

    def close(self) -> None:
        """End the thread when it comes back from what it does."""
        self._calls.put(None)

    def _run(self) -> None:
        while (asked := self._calls.get()) is not None:
            future, call, arguments = asked
            try:
                future.set_result(call(*arguments))
            except BaseException as error:  # noqa: BLE001 - whoever asks for the result is told
                future.set_exception(error)
            # While it waits for the next call it holds nothing of this one: to let go of a Kafka client takes a while.
            del asked, future, call, arguments
