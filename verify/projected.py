"""The map in Hazelcast against the topic that it is a projection of."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
from hazelcast.client import HazelcastClient
from hazelcast.core import HazelcastJsonValue
from hazelcast.errors import HazelcastError
from numpy.typing import NDArray

from infra.errors import TransientError
from infra.hazelcast import PREDICTIONS
from infra.settings import ProjectionSettings
from infra.topic_reader import Progress
from verify.baseline import find_pairs
from verify.outputs import NOT_READABLE, Outputs, decode_prediction, digests, shown
from verify.verdict import Check

# Hazelcast keeps the bound by partition, and these are not all equally full: it begins to push out early.
_FULL = 0.9
# And what is left of a bounded map at the least.
_KEPT = 0.5
_CHUNK = 5_000
_LOOK_SECONDS = 0.5


def check_map(
    client: HazelcastClient,
    projection: ProjectionSettings,
    outputs: Outputs,
    check: Check,
    seconds: float,
    offenders: int,
    progress: Progress,
) -> None:
    """Compare all entries by the digests of their keys and values, and count those that are missing.

    A projection is behind its topic by what it takes: it has `seconds` to catch up.

    Raises:
        TransientError: Hazelcast does not answer.
    """
    topic = _Topic(outputs)
    room = projection.max_entries * max(1, len(client.cluster_service.get_members()))
    bounded = projection.ttl_seconds > 0 or len(topic.distinct) > _FULL * room
    least = 0 if projection.ttl_seconds > 0 else min(len(topic.distinct), int(_KEPT * room))
    deadline = time.monotonic() + seconds
    while True:
        try:
            held, different, first = _compare(client, topic, offenders, progress)
        except HazelcastError as error:
            raise TransientError(f"Hazelcast does not answer: {error}") from error
        strangers = len(np.setdiff1d(held, topic.distinct))
        kept = len(held) - strangers
        missing = len(topic.distinct) - kept
        if (not different and kept >= least and (bounded or not missing)) or time.monotonic() > deadline:
            break
        progress(f"{PREDICTIONS}: {missing:,} missing, {different:,} different; waiting for the projection")
        time.sleep(_LOOK_SECONDS)
    check.violate(different, first)
    check.notes.append(f"{len(held):,} entries, {len(topic.distinct):,} transaction numbers in the topic")
    if strangers:
        check.notes.append(f"{strangers:,} entries came after the topic was read, or retention took their records")
    if kept < least:
        check.violate(least - kept, [f"{kept:,} of the topic's are in the map, which has room for {room:,}"])
    elif bounded and missing:
        check.notes.append(f"{missing:,} are beyond the map's bound of {room:,} entries or its time to live")
    elif missing:
        check.violate(missing, [f"{missing:,} transaction numbers of the topic are not in the map"])


class _Topic:
    """The pairs of key and value in the topic, in order, for looking up."""

    def __init__(self, outputs: Outputs):
        keys, values = outputs.keys(), outputs.values()
        self._outputs = outputs
        order = np.lexsort((values, keys))
        self._keys, self._values = keys[order], values[order]
        self.distinct = np.unique(keys)

    def find(self, keys: NDArray[np.uint64], values: NDArray[np.uint64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of the keys stand in the topic, and which of them with that value."""
        return find_pairs(self._keys, self._values, keys, values)

    def is_behind(self, text: bytes) -> bool:
        """Whether a value is an answer to a transaction that came when the answers had been read."""
        try:
            record = decode_prediction(text)
        except NOT_READABLE:
            return False
        source = record.source_partition, record.source_offset
        return source[1] >= self._outputs.sources[source[0]].stop and self._outputs.places.have([source])[0]


def _compare(
    client: HazelcastClient, topic: _Topic, offenders: int, progress: Progress
) -> tuple[NDArray[np.uint64], int, list[str]]:
    """The digests of the map's keys, the number of values that the topic does not have, the first of these."""
    held, different, first, done = [np.zeros(0, np.uint64)], 0, [], 0
    told = time.monotonic()
    for names, texts in _entries(client):
        keys, values = digests([name.encode() for name in names]), digests(texts)
        known, same = topic.find(keys, values)
        # A transaction that was sent again has a newer answer by now.
        wrong = [row for row in np.flatnonzero(known & ~same).tolist() if not topic.is_behind(texts[row])]
        different += len(wrong)
        told_of = wrong[: offenders - len(first)]
        first += [f"transaction {shown(names[row])} has another value than the topic" for row in told_of]
        held.append(keys)
        done += len(names)
        if time.monotonic() - told > 2:
            told = time.monotonic()
            progress(f"{PREDICTIONS}: {done:,} entries compared")
    return np.concatenate(held), different, first


def _entries(client: HazelcastClient) -> Iterator[tuple[Sequence[str], Sequence[bytes]]]:
    """The map in pieces: the keys at once, the values, twenty times as large, a few thousand at a time."""
    held = client.get_map(PREDICTIONS).blocking()
    keys = list(held.key_set())
    for start in range(0, len(keys), _CHUNK):
        piece = held.get_all(keys[start : start + _CHUNK])
        if piece:
            yield [str(key) for key in piece], [_text(value) for value in piece.values()]


def _text(value: object) -> bytes:
    return (value.to_string() if isinstance(value, HazelcastJsonValue) else str(value)).encode()
