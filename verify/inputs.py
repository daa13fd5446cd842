"""What stands in Transactions: at which offsets there is a record, and which transaction it is."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import msgspec
import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from infra.settings import KafkaSettings
from infra.topic_reader import Progress, TopicReader
from verify.baseline import Baseline
from verify.marks import Marks
from verify.named import Named
from verify.outputs import NOT_READABLE, digests, value_digest


class TransactionRecord(msgspec.Struct, gc=False):
    """What verification needs of a transaction."""

    trans_num: str


_decode = msgspec.json.Decoder(TransactionRecord).decode
# No text in UTF-8, so that no prediction can name it.
_NO_NUMBER = b"\xff"


@dataclass(frozen=True)
class Input:
    """The input topic: which offsets hold a record, and where reading began and ended."""

    present: dict[int, Marks]
    starts: dict[int, int]
    ends: dict[int, int]
    left_from: dict[int, int]
    """What lies below has gone with retention, some of it perhaps before it could be read."""
    judged_from: dict[int, int]
    """Below, the answers may have fallen to their topics' retention."""
    misnamed: dict[int, NDArray[np.int64]]
    """Offsets whose prediction names another transaction than stands there."""
    altered: dict[int, NDArray[np.int64]]
    """Offsets whose dead letter is of another value than stands there."""
    known: dict[int, list[NDArray[np.uint64]]]
    """Of transactions to which the baseline has a prediction: offsets, and digests of the numbers."""


def read_input(
    kafka: KafkaSettings,
    horizon: int,
    named: Mapping[int, Named],
    refused: Mapping[int, Named],
    baseline: Baseline | None,
    progress: Progress,
) -> Input:
    """Read it whole, with the partitions that it has by now.

    Args:
        kafka: where it is.
        horizon: the time (ms) before which the outputs' retention has deleted answers, or 0.
        named: the numbers in the predictions, by partition.
        refused: the values in the dead letters, by partition.
        baseline: whose transactions are to be found, if there is one.
        progress: is told how far it is.

    Raises:
        TransientError: Kafka does not answer, or a transaction stays open.
        TerminalError: the topic is missing.
    """
    present: dict[int, Marks] = defaultdict(Marks)
    misnamed: dict[int, list[NDArray[np.int64]]] = defaultdict(list)
    altered: dict[int, list[NDArray[np.int64]]] = defaultdict(list)
    known: dict[int, list[NDArray[np.uint64]]] = defaultdict(list)
    with closing(TopicReader(kafka, kafka.topics.transactions)) as reader:
        starts, ends = reader.starts(), reader.ends()
        for messages in reader.read(starts, ends, progress):
            for p, offsets, values in _by_partition(messages):
                numbers = digests([_number(value) for value in values])
                present[p].add(offsets)
                if p in named:
                    misnamed[p].append(named[p].others(offsets, numbers))
                if p in refused:
                    rows = np.flatnonzero(refused[p].knows(offsets))
                    stand = [value_digest(hashlib.sha256(values[row]).digest()) for row in rows]
                    altered[p].append(refused[p].others(offsets[rows], np.array(stand, np.uint64)))
                if baseline is not None:
                    known[p].append(np.stack([offsets.astype(np.uint64), numbers])[:, baseline.knows(numbers)])
        left_from = reader.starts()
        judged = reader.offsets_at(horizon) if horizon else starts
    return Input(
        present,
        starts,
        ends,
        left_from,
        {p: max(start, judged[p]) for p, start in starts.items()},
        {p: np.concatenate(found) for p, found in misnamed.items()},
        {p: np.concatenate(found) for p, found in altered.items()},
        known,
    )


def _by_partition(messages: Sequence[Message]) -> Iterator[tuple[int, NDArray[np.int64], list[bytes]]]:
    """Of each partition the offsets and the values."""
    parts: dict[int, list[Message]] = defaultdict(list)
    for message in messages:
        parts[message.partition() or 0].append(message)
    for p, those in parts.items():
        yield p, np.array([message.offset() or 0 for message in those], np.int64), [m.value() or b"" for m in those]


def _number(value: bytes) -> bytes:
    try:
        return _decode(value).trans_num.encode()
    except NOT_READABLE:
        return _NO_NUMBER
