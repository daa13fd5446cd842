"""The verification: read everything, then judge.

The order of reading makes the judgement sound while the pipeline runs: the committed offsets first, so that the
outputs, which are read after them, hold all that they stand for; then the input, which holds every source of
those outputs; the group's offsets once more, which now cover those outputs; the map last.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from infra.errors import TransientError
from infra.group_reader import GroupReader
from infra.hazelcast import connect
from infra.settings import Settings
from infra.topic_reader import Progress, TopicReader
from verify.baseline import Baseline
from verify.inputs import Input, read_input
from verify.outputs import Outputs
from verify.places import Places
from verify.projected import check_map
from verify.verdict import Check, Verdict


@dataclass(frozen=True)
class Options:
    """What to verify."""

    drained: bool = False
    """Nothing may be left unscored."""
    against: Path | None = None
    write_baseline: Path | None = None
    with_map: bool | None = None
    """None: if a Hazelcast is named."""
    offenders: int = 10
    map_seconds: float = 60.0
    """How long the map may be behind the topic."""


def verify(settings: Settings, options: Options, progress: Progress = lambda _: None) -> Verdict:
    """Check the invariants of a deployment.

    Raises:
        TransientError: Kafka does not answer, or a transaction stays open.
        TerminalError: a topic is missing, or a baseline cannot be read or written.
    """
    began = time.monotonic()
    kafka = settings.kafka
    baseline = Baseline.read(options.against) if options.against else None
    group = GroupReader(kafka, settings.scoring.group_id, kafka.topics.transactions)
    predictions = TopicReader(kafka, kafka.topics.predictions)
    letters = TopicReader(kafka, kafka.topics.dead_letters)
    try:
        places = Places(kafka)
        committed = group.committed()
        with_map = bool(settings.hazelcast.members) and options.with_map is not False
        keep = with_map or options.write_baseline is not None
        outputs = Outputs(places, kafka.topics.transactions, options.offenders, keep, baseline)
        horizon = _read(predictions, outputs.add_predictions, progress)
        horizon = max(horizon, _read(letters, outputs.add_dead_letters, progress))
        source = read_input(kafka, horizon, outputs.named, outputs.refused, baseline, progress)
        committed_after = group.committed()
    finally:
        for reader in (group, predictions, letters):
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


def _no_loss(source: Input, outputs: Outputs, committed: dict[int, int], options: Options) -> tuple[Check, int, int]:
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
        invented = invented[invented >= source.left_from[p]]
        check.violate(len(invented), _places("answered, but no committed transaction", p, invented, options))
        misnamed = source.misnamed.get(p, np.zeros(0, np.int64))
        check.violate(len(misnamed), _places("answered under another transaction's number", p, misnamed, options))
        altered = source.altered.get(p, np.zeros(0, np.int64))
        check.violate(len(altered), _places("a dead letter of another value than stands there", p, altered, options))
    check.violate(outputs.nowhere, outputs.first_nowhere)
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


def _same_answers(outputs: Outputs, source: Input, options: Options) -> Check:
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
        check.unchecked.append(f"{strangers:,} predictions are of transactions that the baseline does not know")
    elif not len(compared):
        check.unchecked.append("there is no prediction to compare with the baseline's")
    if not len(compared) and check.state == "held":
        check.state = "not checked"
    if sorted(outputs.versions) != outputs.baseline.versions:
        check.notes.append(
            f"model/features are {', '.join(sorted(outputs.versions)) or 'none'}, "
            f"the baseline's {', '.join(outputs.baseline.versions)}"
        )
    return check


def _offsets_with_outputs(
    source: Input,
    outputs: Outputs,
    before: dict[int, int],
    after: dict[int, int],
    group_id: str,
) -> Check:
    check = Check("E", "offsets with outputs: committed offsets stand right behind the last answer")
    if not after:
        check.state = "not checked"
        said = f"group {group_id} has no committed offsets: never started, expired, or another group?"
        # Where nothing is answered, there is nothing to compare them with.
        answered = outputs.predictions + outputs.dead_letters
        (check.unchecked if answered else check.notes).append(said)
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
    if options.with_map is False or not settings.hazelcast.members:
        check.state = "not checked"
        said = "not asked for" if options.with_map is False else "no Hazelcast is named"
        (check.unchecked if options.with_map else check.notes).append(said)
        return check
    try:
        client = connect(settings.hazelcast)
        try:
            check_map(client, settings.projection, outputs, check, options.map_seconds, options.offenders, progress)
        finally:
            client.shutdown()
    except TransientError as error:  # what the topics say is told all the same
        check.state = "not checked"
        check.unchecked.append(str(error))
    return check


def _places(what: str, partition: int, offsets: NDArray[np.int64], options: Options) -> list[str]:
    return [f"{what}: partition {partition} offset {offset}" for offset in offsets[: options.offenders]]
