"""The verification: read everything, then judge.

The order of reading makes the judgement sound while the pipeline runs: the committed offsets first, so that the
outputs, which are read after them, hold all that they stand for; then the input, which holds every source of
those outputs; the group's offsets once more, which now cover those outputs; the map last.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from infra.errors import TransientError
from infra.hazelcast import connect
from infra.settings import Settings
from infra.topic_reader import GroupOffsets, Progress, TopicReader
from verify.baseline import Baseline
from verify.marks import Marks
from verify.outputs import NOT_READABLE, Outputs, decode_transaction, digests
from verify.projected import check_map
from verify.verdict import Check, Verdict


@dataclass(frozen=True)
class Options:
    """What to verify."""

    drained: bool = False
    """Nothing may be left unscored."""
    against: Path | None = None
    write_baseline: Path | None = None
    with_map: bool = True
    offenders: int = 10
    map_seconds: float = 60.0
    """How long the map may be behind the topic."""


@dataclass(frozen=True)
class _Input:
    """The input topic: which offsets hold a record, and where reading began and ended."""

    present: dict[int, Marks]
    starts: dict[int, int]
    ends: dict[int, int]
    judged_from: dict[int, int]
    """Below, the answers may have fallen to their topics' retention."""
    known: dict[int, list[NDArray[np.uint64]]]
    """Of transactions to which the baseline has a prediction: offsets, and digests of the numbers."""


def verify(settings: Settings, options: Options, progress: Progress = lambda _: None) -> Verdict:
    """Check the invariants of a deployment.

    Raises:
        TransientError: Kafka does not answer, or a transaction stays open.
        TerminalError: a topic is missing, or the baseline cannot be read.
    """
    began = time.monotonic()
    kafka = settings.kafka
    baseline = Baseline.read(options.against) if options.against else None
    group = GroupOffsets(kafka, settings.scoring.group_id)
    predictions = TopicReader(kafka, kafka.topics.predictions)
    letters = TopicReader(kafka, kafka.topics.dead_letters)
    transactions = TopicReader(kafka, kafka.topics.transactions)
    try:
        committed = group.committed()
        keep = options.with_map or options.write_baseline is not None
        outputs = Outputs(kafka.topics.transactions, options.offenders, keep, baseline)
        horizon = _read(predictions, outputs.add_predictions, progress)
        horizon = max(horizon, _read(letters, outputs.add_dead_letters, progress))
        source = _read_input(transactions, horizon, baseline, progress)
        committed_after = group.committed()
    finally:
        for reader in (group, predictions, letters, transactions):
            reader.close()
    progress("judging")
    no_loss, lost, unscored = _no_loss(source, outputs, committed, options)
    checks = [
        no_loss,
        _no_duplicate(outputs, options),
        _in_order(outputs),
        _same_answers(outputs, source, options),
        _offsets_with_outputs(source, outputs, committed, committed_after, settings.scoring.group_id),
        _map_is_topic(settings, outputs, options, progress),
    ]
    if options.write_baseline:
        made = Baseline.of(outputs.keys(), outputs.probabilities(), sorted(outputs.versions))
        made.write(options.write_baseline)
    counts = {
        "transactions": sum(marks.distinct for marks in source.present.values()),
        "predictions": outputs.predictions,
        "dead_letters": outputs.dead_letters,
        "unscored": unscored,
        "lost": lost,
        "duplicated": checks[1].violations,
        "different": checks[3].violations,
    }
    return Verdict(checks, counts, time.monotonic() - began)


def _read(reader: TopicReader, add: Callable[[Sequence[Message]], None], progress: Progress) -> int:
    """Read an output topic whole. Returns the time (ms) before which its retention has deleted records, or 0."""
    starts, ends = reader.starts(), reader.ends()
    first: dict[int, int] = {}
    for messages in reader.read(starts, ends, progress):
        for message in messages if len(first) < len(starts) else ():
            first.setdefault(message.partition() or 0, message.timestamp()[1])
        add(messages)
    cut = [p for p, start in starts.items() if start > 0]
    # Where nothing is left, all there was is older than the topic keeps anything: of dead letters, which are rare.
    emptied = int((time.time() - reader.kept_seconds()) * 1000) if set(cut) - first.keys() else 0
    return max((first.get(p, emptied) for p in cut), default=0)


def _read_input(reader: TopicReader, horizon: int, baseline: Baseline | None, progress: Progress) -> _Input:
    starts, ends = reader.starts(), reader.ends()
    present: dict[int, Marks] = defaultdict(Marks)
    known: dict[int, list[NDArray[np.uint64]]] = defaultdict(list)
    for messages in reader.read(starts, ends, progress):
        offsets: dict[int, list[int]] = defaultdict(list)
        for message in messages:
            offsets[message.partition() or 0].append(message.offset() or 0)
        for partition, found in offsets.items():
            present[partition].add(found)
        if baseline is not None:
            for partition, pairs in _known(messages, baseline):
                known[partition].append(pairs)
    judged = reader.offsets_at(horizon) if horizon else starts
    return _Input(present, starts, ends, {p: max(start, judged[p]) for p, start in starts.items()}, known)


def _known(messages: Sequence[Message], baseline: Baseline) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """By partition, [2, N]: offset and digest of the number of transactions to which the baseline has a prediction."""
    offsets: dict[int, list[int]] = defaultdict(list)
    numbers: dict[int, list[bytes]] = defaultdict(list)
    for message in messages:
        with suppress(*NOT_READABLE):  # no transaction, which the baseline has no prediction to either
            number = decode_transaction(message.value() or b"").trans_num.encode()
            numbers[message.partition() or 0].append(number)
            offsets[message.partition() or 0].append(message.offset() or 0)
    for partition, found in numbers.items():
        keys = digests(found)
        yield partition, np.stack([np.array(offsets[partition], np.uint64), keys])[:, baseline.knows(keys)]


def _no_loss(source: _Input, outputs: Outputs, committed: dict[int, int], options: Options) -> tuple[Check, int, int]:
    """The check, and how many transactions are lost and how many wait."""
    check = Check("A", "nothing lost: every transaction has a prediction or a dead letter, and nothing else has one")
    gone = unscored = older = 0
    for p, start in source.starts.items():
        answers = outputs.sources[p]
        stop = max(source.ends[p], source.present[p].stop)
        there = source.present[p].window(start, stop) > 0
        answered = answers.window(start, stop) > 0
        missing = np.flatnonzero(there & ~answered) + start
        judged = missing[missing >= source.judged_from[p]]
        older += len(missing) - len(judged)
        # Without committed offsets, what lies before the last answer must have one.
        done = committed.get(p, answers.stop)
        lost, waiting = judged[judged < done], judged[judged >= done]
        gone += len(lost)
        unscored += len(waiting)
        check.violate(len(lost), _places("lost", p, lost, options))
        if options.drained:
            check.violate(len(waiting), _places("not scored", p, waiting, options))
        invented = np.flatnonzero(answered & ~there) + start
        check.violate(len(invented), _places("answered, but no committed transaction", p, invented, options))
    check.violate(outputs.unreadable, outputs.first_unreadable)
    if older:
        check.notes.append(f"{older:,} transactions are older than what retention left of the outputs: not judged")
    deleted = sum(int((outputs.sources[p].window(0, start) > 0).sum()) for p, start in source.starts.items())
    if deleted:
        check.notes.append(f"{deleted:,} answers are to transactions that retention has deleted")
    if unscored and not options.drained:
        check.notes.append(f"{unscored:,} transactions wait to be scored: no failure without --drained")
    check.offenders = check.offenders[: options.offenders]
    return check, gone, unscored


def _no_duplicate(outputs: Outputs, options: Options) -> Check:
    check = Check("B", "nothing doubled: one answer for each source partition and offset")
    for p, marks in sorted(outputs.sources.items()):
        count, offsets = marks.repeated()
        check.violate(count, _places("answered more than once", p, offsets, options))
    check.offenders = check.offenders[: options.offenders]
    return check


def _in_order(outputs: Outputs) -> Check:
    check = Check("C", "in order: source offsets rise within a partition of Predictions")
    check.violate(outputs.fallen, outputs.first_fallen)
    return check


def _same_answers(outputs: Outputs, source: _Input, options: Options) -> Check:
    check = Check("D", "same answers: each probability equals the baseline's bit by bit")
    if outputs.baseline is None:
        check.state = "not checked"
        check.notes.append("no baseline: write one with --write-baseline, and compare a later run --against it")
        return check
    check.violate(outputs.different, outputs.first_different)
    compared = outputs.compared_keys()
    for p, known in source.known.items():
        # What is answered, and by no prediction, has become a dead letter.
        start = source.starts[p]
        answered = outputs.sources[p].window(start, source.present[p].stop) > 0
        offsets, keys = np.concatenate(known, axis=1)
        places = offsets.astype(np.int64)
        refused = places[answered[places - start] & ~np.isin(keys, compared)]
        check.violate(len(refused), _places("a dead letter, and a prediction in the baseline", p, refused, options))
    check.offenders = check.offenders[: options.offenders]
    check.notes.append(f"{len(compared):,} compared")
    strangers = outputs.predictions - len(compared)
    if strangers:
        check.notes.append(f"{strangers:,} predictions are of transactions that the baseline does not know")
    if sorted(outputs.versions) != outputs.baseline.versions:
        check.notes.append(
            f"model/features are {', '.join(sorted(outputs.versions)) or 'none'}, "
            f"the baseline's {', '.join(outputs.baseline.versions)}"
        )
    if not len(compared) and outputs.predictions:
        check.state = "not checked"
    return check


def _offsets_with_outputs(
    source: _Input,
    outputs: Outputs,
    before: dict[int, int],
    after: dict[int, int],
    group_id: str,
) -> Check:
    check = Check("E", "offsets with outputs: committed offsets stand right behind the last answer")
    if not after:
        check.state = "not checked"
        check.notes.append(f"group {group_id} has no committed offsets: never started, expired, or another group?")
        return check
    for p in source.starts:
        reached = outputs.sources[p].stop
        ahead = before.get(p, 0)
        between = int((source.present[p].window(max(reached, source.judged_from[p]), ahead) > 0).sum())
        if between:
            said = f"partition {p}: committed {ahead}, answered up to {reached}, {between} transactions between"
            check.violate(1, [said])
        if after.get(p, 0) < reached:
            check.violate(1, [f"partition {p}: answered up to {reached}, committed {after.get(p, 'nothing')}"])
    return check


def _map_is_topic(settings: Settings, outputs: Outputs, options: Options, progress: Progress) -> Check:
    check = Check("F", "the map predictionResult says what the topic says")
    if not options.with_map or not settings.hazelcast.members:
        check.state = "not checked"
        check.notes.append("not asked for" if not options.with_map else "no Hazelcast is named")
        return check
    try:
        client = connect(settings.hazelcast)
    except TransientError as error:
        check.state = "not checked"
        check.notes.append(str(error))
        return check
    try:
        check_map(client, settings.projection, outputs, check, options.map_seconds, options.offenders, progress)
    finally:
        client.shutdown()
    return check


def _places(what: str, partition: int, offsets: NDArray[np.int64], options: Options) -> list[str]:
    return [f"{what}: partition {partition} offset {offset}" for offset in offsets[: options.offenders]]
