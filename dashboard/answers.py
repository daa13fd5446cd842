"""Answers of the cluster, shared by everybody who looks, and renewed behind their backs.

Twenty people look at the same pictures, and each question costs the cluster some of the cores that score
transactions. So each question is asked once, and its answer is shown to all. What has no answer yet is asked at once;
answers that are looked at are renewed one after the other, the oldest first, with a rest after each that is many times
as long as it took, a minute at most: the more is looked at and the more it costs, the older the answers grow.
"""

import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from dashboard.cluster import Cluster
from infra.errors import FraudflowError

logger = logging.getLogger(__name__)

# The share of the time for which the cluster is busy with what is known already. While it counts a million it takes all
# cores of a small machine for 0.3 s, and whoever scores there waits.
_RENEWING_SHARE = 0.01
# Pages draw themselves anew every 10 s at the latest: what nobody has asked for since then is looked at no longer.
_LOOKED_AT_SECONDS = 15.0
_IDLE_SECONDS, _LONGEST_REST_SECONDS = 0.25, 60.0
# Questions that run at once. More would only wait for each other on the members' cores.
_WORKERS = 2
_REMEMBERED, _REMEMBERED_BYTES = 400, 128 << 20
_AGAIN_AFTER_ERROR_SECONDS = 2.0
# A part of a page that is drawn without its answer is empty until it is drawn again: for up to 10 s.
_PATIENCE_SECONDS = 2.5


@dataclass(frozen=True)
class Question:
    """A statement and its parameters."""

    statement: str
    parameters: tuple[Any, ...] = ()
    moving: tuple[Any, ...] = field(default=(), compare=False)
    """Parameters after the others that move on by themselves: with other ones it is the same question, asked later."""


@dataclass(frozen=True)
class Answer:
    """What is known now."""

    frame: pl.DataFrame | None
    """None: nothing yet."""
    as_of: datetime | None
    error: str | None
    """Why the newest attempt failed; the frame is then an older one."""


@dataclass
class _Entry:
    question: Question
    """As it was asked last."""
    frame: pl.DataFrame | None = None
    size: int = 0
    """Bytes of the frame."""
    as_of: datetime | None = None
    asked: float = 0.0
    """When the newest answer came."""
    looked: float = 0.0
    """When somebody wanted to see it."""
    fresh_seconds: float = 0.0
    error: str | None = None
    forgotten: bool = False
    """Whether the frame was too old to be shown when the question began to run."""
    running: "Future[None] | None" = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Answers:
    """The memory of questions and answers of one process."""

    def __init__(self, cluster: Cluster, renewing_share: float = _RENEWING_SHARE):
        self._cluster, self._renewing_share = cluster, renewing_share
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="answers")
        self._entries: OrderedDict[Question, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        threading.Thread(target=self._renew_for_ever, name="answers-renewing", daemon=True).start()

    def ask(
        self, *questions: Question, fresh_seconds: float = 5.0, wait_seconds: float = _PATIENCE_SECONDS
    ) -> list[Answer]:
        """The newest answers; those that are looked at are renewed in the background.

        Args:
            questions: asked at the same time.
            fresh_seconds: age up to which an answer is not renewed.
            wait_seconds: how long to wait for questions that have no answer yet, or one that nobody looked at lately.
        """
        entries = [self._entry(question) for question in questions]
        running = [self._begin(entry, fresh_seconds) for entry in entries]
        unknown = [one for one in running if one is not None]
        if unknown:
            wait(unknown, wait_seconds)
        return [Answer(e.frame, e.as_of, e.error) for e in entries]

    def _entry(self, question: Question) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(question, _Entry(question))
            entry.question = question
            self._entries.move_to_end(question)
            held = sum(one.size for one in self._entries.values())
            while len(self._entries) > _REMEMBERED or (held > _REMEMBERED_BYTES and len(self._entries) > 1):
                held -= self._entries.popitem(last=False)[1].size
            return entry

    def _begin(self, entry: _Entry, fresh_seconds: float) -> "Future[None] | None":
        """What to wait for, if the answer cannot be shown as it is."""
        with entry.lock:
            now = time.monotonic()
            # It was not kept new meanwhile: who comes now would rather wait a moment than see it.
            forgotten = now - entry.looked > _LOOKED_AT_SECONDS and now - entry.asked > fresh_seconds
            entry.looked, entry.fresh_seconds = now, fresh_seconds
            if not _runs(entry):
                if entry.error and now - entry.asked < _AGAIN_AFTER_ERROR_SECONDS:
                    return None
                if entry.frame is not None and not entry.error and not forgotten:
                    return None
                entry.running, entry.forgotten = self._pool.submit(self._fetch, entry), forgotten
            return entry.running if entry.frame is None or entry.forgotten else None

    def _renew_for_ever(self) -> None:
        while True:
            now = time.monotonic()
            with self._lock:
                due = [
                    entry
                    for entry in self._entries.values()
                    if entry.frame is not None
                    and now - entry.looked < _LOOKED_AT_SECONDS
                    and now - entry.asked > entry.fresh_seconds
                    and not _runs(entry)
                ]
            if not due:
                time.sleep(_IDLE_SECONDS)
                continue
            began = time.monotonic()
            self._fetch(min(due, key=lambda entry: entry.asked))
            time.sleep(min((time.monotonic() - began) * (1 / self._renewing_share - 1), _LONGEST_REST_SECONDS))

    def _fetch(self, entry: _Entry) -> None:
        question = entry.question
        try:
            frame = self._cluster.query(question.statement, *question.parameters, *question.moving)
        except FraudflowError as error:
            entry.error = str(error)
        except Exception:  # anything else must reach the log and the page, not vanish in a pool
            logger.exception("a question failed: %s", question.statement)
            entry.error = "the dashboard made a mistake; its log says more"
        else:
            entry.frame, entry.as_of, entry.error = frame, datetime.now(UTC), None
            entry.size = int(frame.estimated_size())
        entry.asked = time.monotonic()


def _runs(entry: _Entry) -> bool:
    return entry.running is not None and not entry.running.done()
