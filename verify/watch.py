"""Invariant E at every instant: a committed offset never stands ahead of what readers can see in the outputs.

The offsets are read first, the outputs after them. Whatever the offsets cover was committed in the same Kafka
transaction as the answers, so it must be there once the transactions that were open have ended.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from confluent_kafka import Message

from infra.errors import TransientError
from infra.group_reader import GroupReader
from infra.settings import Settings
from infra.topic_reader import Progress, TopicReader
from verify.outputs import NOT_READABLE, DeadLetterRecord, PredictionRecord, decode_dead_letter, decode_prediction
from verify.verdict import Check


class OffsetWatch:
    """Looks again and again. What had been answered before the first look is taken on trust."""

    def __init__(self, settings: Settings):
        kafka = settings.kafka
        self._group = GroupReader(kafka, settings.scoring.group_id, kafka.topics.transactions)
        self._predictions = TopicReader(kafka, kafka.topics.predictions)
        self._letters = TopicReader(kafka, kafka.topics.dead_letters)
        self._reached: dict[int, int] = defaultdict(int)
        self.looks = 0
        self.check = Check("E", "offsets with outputs: at no moment did a committed offset stand ahead of the answers")
        # In front of what is under way, and before the offsets: what they cover by then is behind, or comes.
        for reader in (self._predictions, self._letters):
            reader.seek(reader.committed_ends())
        self._trusted: dict[int, int] = defaultdict(int, self._group.committed())

    def look(self) -> None:
        """Look once.

        Raises:
            TransientError: Kafka does not answer.
        """
        committed = self._group.committed()
        self._take_in()
        if self._ahead(committed):
            for reader, add in ((self._predictions, self._add_predictions), (self._letters, self._add_letters)):
                for messages in reader.until(reader.ends()):
                    add(messages)
            for p in self._ahead(committed):
                self.check.violate(1, [f"partition {p}: committed {committed[p]}, answered up to {self._reached[p]}"])
                self._trusted[p] = committed[p]  # told once
        self.looks += 1

    @property
    def answered(self) -> int:
        """Grows with what readers can see."""
        return sum(self._reached.values())

    def close(self) -> None:
        """Close the connections."""
        for reader in (self._group, self._predictions, self._letters):
            reader.close()

    def _ahead(self, committed: Mapping[int, int]) -> list[int]:
        return [p for p, offset in committed.items() if offset > max(self._reached[p], self._trusted[p])]

    def _take_in(self) -> None:
        # Once: where transactions flow there is always something more.
        self._add_predictions(self._predictions.arrived())
        self._add_letters(self._letters.arrived())

    def _add_predictions(self, messages: Sequence[Message]) -> None:
        self._note(messages, decode_prediction)

    def _add_letters(self, messages: Sequence[Message]) -> None:
        self._note(messages, decode_dead_letter)

    def _note(
        self, messages: Sequence[Message], decode: Callable[[bytes], PredictionRecord | DeadLetterRecord]
    ) -> None:
        for message in messages:
            with suppress(*NOT_READABLE):  # told by the verification that reads everything
                record = decode(message.value() or b"")
                source = record.source_partition
                self._reached[source] = max(self._reached[source], record.source_offset + 1)


def watch(settings: Settings, seconds: float, stop: threading.Event, progress: Progress) -> Check:
    """Watch for so many seconds, or until `stop` is set; a Kafka that is away is waited for.

    Raises:
        TransientError: Kafka does not answer at the start.
    """
    watcher = OffsetWatch(settings)
    unanswered = 0
    deadline = time.monotonic() + seconds
    told = time.monotonic()
    try:
        while time.monotonic() < deadline and not stop.is_set():
            try:
                watcher.look()
            except TransientError:
                unanswered += 1
                stop.wait(0.5)
            if time.monotonic() - told > 2:
                told = time.monotonic()
                progress(f"watching: {watcher.looks:,} looks, {watcher.check.violations} violations")
    finally:
        watcher.close()
    if not watcher.looks:
        watcher.check.unchecked.append("the offsets could not be watched: Kafka answered no look")
    watcher.check.notes.append(f"{watcher.looks:,} looks, {unanswered} of them without an answer from Kafka")
    return watcher.check
