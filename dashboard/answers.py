"""Answers of the cluster, shared by everybody who looks, and renewed behind their backs.

Twenty people look at the same pictures, and each question costs the cluster some of the cores that score
transactions. So each question is asked once, its answer is shown to all at once, and while it is shown the next one is
fetched: a cheap one every few seconds, a costly one every few minutes.
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

# A question that took s seconds rests for 100 s^2: one of 0.2 s for 4 s, one of 1 s for 100 s. The cluster is then
# busy with it for 1 / (100 s) of the time: the longer it is busy at a time, the more seldom.
_REST_FACTOR = 100.0
_LONGEST_REST = 600.0
# The first answer also pays for planning the query and for compiling the code that runs it, so it says little.
_REST_AFTER_FIRST = 5.0
# Questions that run at once. More would only wait for each other on the members' cores.
_WORKERS = 2
_REMEMBERED = 400
# Nobody has looked for so long: the one who does would rather wait a moment than see it.
_OLD_SECONDS = 60.0
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
    pending: bool


@dataclass
class _Entry:
    frame: pl.DataFrame | None = None
    as_of: datetime | None = None
    asked: float = 0.0
    seconds: float | None = None
    """What the newest answer took."""
    rest: float = 0.0
    error: str | None = None
    running: "Future[None] | None" = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Answers:
    """The memory of questions and answers of one process."""

    def __init__(self, cluster: Cluster):
        self._cluster = cluster
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="answers")
        self._entries: OrderedDict[Question, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def ask(
        self, *questions: Question, fresh_seconds: float = 5.0, wait_seconds: float = _PATIENCE_SECONDS
    ) -> list[Answer]:
        """The newest answers; those that are older than `fresh_seconds` are renewed in the background.

        Args:
            questions: asked at the same time.
            fresh_seconds: age up to which an answer is not renewed; those that cost more are left alone for longer.
            wait_seconds: how long to wait for questions that have no answer yet, or a very old one.
        """
        entries = [self._entry(question) for question in questions]
        running = [self._renew(q, e, fresh_seconds) for q, e in zip(questions, entries, strict=True)]
        unknown = [r for r, e in zip(running, entries, strict=True) if r is not None and _too_old(e)]
        if unknown:
            wait(unknown, wait_seconds)
        return [Answer(e.frame, e.as_of, e.error, _runs(e)) for e in entries]

    def _entry(self, question: Question) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(question, _Entry())
            self._entries.move_to_end(question)
            while len(self._entries) > _REMEMBERED:
                self._entries.popitem(last=False)
            return entry

    def _renew(self, question: Question, entry: _Entry, fresh_seconds: float) -> "Future[None] | None":
        with entry.lock:
            if _runs(entry):
                return entry.running
            if entry.asked and time.monotonic() - entry.asked < max(entry.rest, 0 if entry.error else fresh_seconds):
                return None
            entry.running = self._pool.submit(self._fetch, question, entry)
            return entry.running

    def _fetch(self, question: Question, entry: _Entry) -> None:
        began = time.monotonic()
        try:
            frame = self._cluster.query(question.statement, *question.parameters, *question.moving)
        except FraudflowError as error:
            entry.error, entry.rest = str(error), _AGAIN_AFTER_ERROR_SECONDS
        except Exception:  # anything else must reach the log and the page, not vanish in a pool
            logger.exception("a question failed: %s", question.statement)
            entry.error, entry.rest = "the dashboard made a mistake; its log says more", _AGAIN_AFTER_ERROR_SECONDS
        else:
            took, before = time.monotonic() - began, entry.seconds
            entry.frame, entry.as_of, entry.error, entry.seconds = frame, datetime.now(UTC), None, took
            entry.rest = min(_REST_FACTOR * min(took, before or took) ** 2, _LONGEST_REST)
            if before is None:
                entry.rest = min(entry.rest, _REST_AFTER_FIRST)
        entry.asked = time.monotonic()


def _too_old(entry: _Entry) -> bool:
    return entry.frame is None or time.monotonic() - entry.asked > entry.rest + _OLD_SECONDS


def _runs(entry: _Entry) -> bool:
    return entry.running is not None and not entry.running.done()
