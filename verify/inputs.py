"""What stands in Transactions: at which offsets there is a record, and which transaction it is."""

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
from verify.outputs import NOT_READABLE, digests


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
    known: dict[int, list[NDArray[np.uint64]]]
    """Of transactions to which the baseline has a prediction: offsets, and digests of the numbers."""


def read_input(
    kafka: KafkaSettings,
    horizon: int,
    named: Mapping[int, Named],
    baseline: Baseline | None,
    progress: Progress,
) -> Input:
    """Read it whole, with the partitions that it has by now.

    Args:
        kafka: where it is.
        horizon: the time (ms) before which the outputs' retention has deleted answers, or 0.
        named: by the predictions, by partition.
        baseline: whose transactions are to be found, if there is one.
        progress: is told how far it is.

    Raises:
        TransientError: Kafka does not answer, or a transaction stays open.
        TerminalError: the topic is missing.
    """
    present: dict[int, Marks] = defaultdict(Marks)
    misnamed: dict[int, list[NDArray[np.int64]]] = defaultdict(list)
    known: dict[int, list[NDArray[np.uint64]]] = defaultdict(list)
    with closing(TopicReader(kafka, kafka.topics.transactions)) as reader:
        starts, ends = reader.starts(), reader.ends()
        for messages in reader.read(starts, ends, progress):
            for p, offsets, numbers in _by_partition(messages):
                present[p].add(offsets)
                if p in named:
                    misnamed[p].append(named[p].others(offsets, numbers))
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
        known,
    )


def _by_partition(messages: Sequence[Message]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.uint64]]]:
    """Of each partition the offsets, and the digests of the transaction numbers."""
    offsets: dict[int, list[int]] = defaultdict(list)
    numbers: dict[int, list[bytes]] = defaultdict(list)
    for message in messages:
        offsets[message.partition() or 0].append(message.offset() or 0)
        numbers[message.partition() or 0].append(_number(message.value() or b""))
    for p, found in offsets.items():
        yield p, np.array(found, np.int64), digests(numbers[p])


def _number(value: bytes) -> bytes:
    try:
        return _decode(value).trans_num.encode()
    except NOT_READABLE:
        return _NO_NUMBER
