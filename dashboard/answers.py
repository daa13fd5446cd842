"""Answers of the cluster, shared by everybody who looks, and renewed behind their backs.

A picture of a million predictions costs the cluster a second or two, and twenty people look at the same one. So
each question is asked once, its answer is shown to all at once, and while it is shown the next one is fetched. How
often depends on what it costs: the dashboard never keeps the cluster busy for more than a small part of the time,
because the same cores score transactions.
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

# A question that took one second is asked again after ten at the earliest.
REST = 9.0
# Questions that run at once. More would only wait for each other on the members' cores.
_WORKERS = 2
_REMEMBERED = 400
# Nobody has looked for so long: the one who does would rather wait a moment than see it.
_OLD_SECONDS = 60.0
_AGAIN_AFTER_ERROR_SECONDS = 2.0


@dataclass(frozen=True)
class Question:
    """A statement and its parameters."""

    statement: str
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What is known now."""

    frame: pl.DataFrame | None
    """None: nothing yet."""
    as_of: datetime | None
    error: str | None
    """Why the newest attempt failed; the frame is then an older one."""
    pending: bool
    seconds: float
    """What the newest answer took."""


@dataclass
class _Entry:
    frame: pl.DataFrame | None = None
    as_of: datetime | None = None
    asked: float = 0.0
    seconds: float = 0.0
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

    def ask(self, *questions: Question, fresh_seconds: float = 5.0, wait_seconds: float = 0.8) -> list[Answer]:
        """The newest answers; those that are older than `fresh_seconds` are renewed in the background.

        Args:
            questions: asked at the same time.
            fresh_seconds: age up to which an answer is not renewed; costly ones are left alone for longer.
            wait_seconds: how long to wait for questions that have no answer yet, or a very old one.
        """
        entries = [self._entry(question) for question in questions]
        running = [self._renew(q, e, fresh_seconds) for q, e in zip(questions, entries, strict=True)]
        unknown = [r for r, e in zip(running, entries, strict=True) if r is not None and _too_old(e)]
        if unknown:
            wait(unknown, wait_seconds)
        return [Answer(e.frame, e.as_of, e.error, _runs(e), e.seconds) for e in entries]

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
            rest = _AGAIN_AFTER_ERROR_SECONDS if entry.error else max(fresh_seconds, REST * entry.seconds)
            if entry.asked and time.monotonic() - entry.asked < rest:
                return None
            entry.running = self._pool.submit(self._fetch, question, entry)
            return entry.running

    def _fetch(self, question: Question, entry: _Entry) -> None:
        began = time.monotonic()
        try:
            frame = self._cluster.query(question.statement, *question.parameters)
        except FraudflowError as error:
            entry.error = str(error)
        except Exception:  # anything else must reach the log and the page, not vanish in a pool
            logger.exception("a question failed: %s", question.statement)
            entry.error = "the dashboard made a mistake; its log says more"
        else:
            entry.frame, entry.as_of, entry.error = frame, datetime.now(UTC), None
            entry.seconds = time.monotonic() - began
        entry.asked = time.monotonic()


def _too_old(entry: _Entry) -> bool:
    return entry.frame is None or time.monotonic() - entry.asked > _OLD_SECONDS


def _runs(entry: _Entry) -> bool:
    return entry.running is not None and not entry.running.done()
