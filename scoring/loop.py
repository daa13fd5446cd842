"""Consume, score, produce: the loop that must lose nothing and double nothing.

One Kafka transaction holds the predictions, alerts and dead letters of a batch and the offsets of its input.
While it is being committed the next batch is scored, and sent in a transaction that ends after it: after anything that
is not a commit, all that was scored since is dropped and the consumer goes back to the committed offsets.
"""

import logging
import sys
import time
from bisect import bisect_right
from collections.abc import Callable
from functools import partial

from confluent_kafka import KafkaException, Message, TopicPartition

from infra.errors import TransientError
from infra.settings import Settings
from scoring.breaker import DeadLetterBreaker
from scoring.coming import ComingPast
from scoring.consumer import BatchConsumer, Rebalanced, Taken
from scoring.features import Features
from scoring.lineup import Lineup
from scoring.metrics import Counters
from scoring.past import Past
from scoring.producer import Aborted, IdempotentProducer, Output, TransactionalProducer
from scoring.scorer import Scored, Scorer, Source, dead_letter

logger = logging.getLogger(__name__)

# Between tries while the broker is away: long enough to spare it, short enough to go on at once.
RETRY_SECONDS = 1.0
# Transactions scored at once. With 10,000 the rows fall out of the processor's cache between the steps, with 100 the
# fixed cost of a step shows.
PIECE = 2_000
SCORING, READING_BACK = "scoring", "reading histories back"
# For how long CPython lets a thread go on when another asks, as scoring does at each of its calls: beside a thread that
# reads histories a batch took 4 s with 5 ms, and 0.4 s with 0.5 ms. Without one, it costs a seventh of the throughput.
_TURN_SECONDS, _SHORT_TURN_SECONDS = sys.getswitchinterval(), 0.0005


class _ToldToStop(Exception):
    """The scorer was told to stop while it read a history back."""


class ScoringLoop:
    """Runs a scorer between two topics until it is told to stop."""

    def __init__(self, settings: Settings, scorer: Scorer, slot: str, output_partitions: int):
        self._settings = settings
        self._topics = settings.kafka.topics
        self._scorer = scorer
        self._output_partitions = output_partitions
        self._consumer = BatchConsumer(settings.kafka, settings.scoring, self._ready, self._settle)
        self._producer: TransactionalProducer | IdempotentProducer
        if settings.scoring.delivery == "exactly-once":
            self._producer = TransactionalProducer(settings.kafka, settings.scoring, slot)
        else:
            self._producer = IdempotentProducer(settings.kafka, settings.scoring, self._consumer.commit)
        self._committed: dict[int, TopicPartition] = {}  # the newest offsets of the partitions, with their metadata
        self._must_rewind = False
        self._past: Past | None = None
        self._coming: ComingPast | None = None
        self._breaker = DeadLetterBreaker(settings.scoring)
        self.counters = Counters()
        self.span: tuple[int, int] | None = None
        """When the first batch was taken and the newest was committed, by `time.perf_counter_ns()`."""
        self.moved_at = time.monotonic()
        """When a step ended well, and nothing was stuck or failing."""
        self.state = SCORING
        self._stopping: Callable[[], bool] = lambda: False
        self._while_reading: Callable[[], None] = lambda: None
        self.change(scorer.lineup, scorer.features)

    def run(
        self,
        stopping: Callable[[], bool],
        between_batches: Callable[[], None],
        while_reading: Callable[[], None] = lambda: None,
    ) -> None:
        """Score until `stopping()`; `between_batches()` is where features change and counts are told.

        While a history is read back, for minutes perhaps, there are no batches: `while_reading()` is called instead.

        Raises:
            TooManyDeadLetters: of most of the input.
            TerminalError: the log cannot be read.
        """
        self._stopping, self._while_reading = stopping, while_reading
        try:
            while not stopping():
                self._step()
                self._breaker.check()
                between_batches()
            self._attempt(self._settle)
        finally:
            self._await(None)
            if self._past is not None:
                self._past.close()
            self._producer.close()
            self._consumer.close()

    def _step(self) -> None:
        if self._attempt(self._take_and_score):
            self.moved_at = time.monotonic()
        else:
            time.sleep(RETRY_SECONDS)

    def _attempt(self, step: Callable[[], object]) -> bool:
        try:
            step()
        except (Rebalanced, _ToldToStop):
            self._must_rewind = True
        except (KafkaException, Aborted, TransientError) as error:
            self.counters.aborts += 1
            self._must_rewind = True
            logger.warning("batch not committed, going back to the committed offsets: %s", error)
            return False
        return True

    def _take_and_score(self) -> None:
        if self._must_rewind:
            self._settle()
            # What was under way must have ended, or the offsets to go back to are not known yet.
            self._producer.recover()
            committed = self._consumer.committed()
            if self._past is not None:
                self._past.restore(committed, self._alive)
            self._consumer.go_back(committed)
            self._committed = {at.partition: at for at in committed}
            self._must_rewind, self.state = False, SCORING
        taken = self._consumer.take()
        if taken is None:
            self._settle()
            return
        batch = Counters(batches=1)
        outputs = self._outputs(taken, batch)
        book = taken.book if self._past is None else self._past.book(taken.book)
        committed = partial(self._count, batch, book, taken.at_ns)
        if self._breaker.beyond(batch.dead_letters, batch.transactions):
            self._settle()  # the breaker counts what is committed, and is to see the batches before this one
            self._breaker.check()
        self._ready()
        self._producer.send(outputs, book, self._consumer.group_metadata(), committed)

    def _ready(self) -> None:
        self._producer.ready()

    def _settle(self) -> None:
        self._producer.settle()

    def _count(self, batch: Counters, book: list[TopicPartition], taken_ns: int, committed_ns: int) -> None:
        """A batch is committed."""
        self._committed |= {at.partition: at for at in book}
        self.span = (self.span[0] if self.span else taken_ns, committed_ns)
        batch.latency.add((committed_ns - taken_ns) / 1e9, batch.transactions)
        self.counters.add(batch)
        self._breaker.add(batch)

    def change(self, lineup: Lineup, features: Features) -> bool:
        """From the next batch on, score with these. Between two batches only, and again until it is so.

        A model with online inputs needs the histories with these features. Where transactions are scored already, they
        are read beside it, which may take minutes; until then all stays as it is.

        Returns:
            Whether it is so.

        Raises:
            TerminalError: the log cannot be read.
        """
        scorer = self._scorer
        past = self._past if features is scorer.features else None
        if lineup.online and past is None:
            if not self._committed:  # nothing is scored yet
                past = Past(self._settings.kafka, features, self._settings.scoring.snapshot_rows)
            elif not (past := self._had(features)):
                if self._past is not None and lineup is not scorer.lineup:
                    scorer.lineup = lineup  # with the features before, whose histories are there
                return False
            # Up to the committed offsets, before the next batch.
            self._must_rewind = True
        elif not lineup.online:
            past = None
        self._await(None)
        if self._past is not None and self._past is not past:
            self._past.close()
        if lineup is not scorer.lineup:
            scorer.lineup = lineup
        if features is not scorer.features:
            scorer.features = features
        self._past = past
        scorer.observe = past.observe if past else None
        return True

    def _had(self, features: Features) -> Past | None:
        """The histories with these features, once they are read."""
        coming = self._coming
        if coming is None or coming.features is not features:
            logger.info("reading histories back for features %s", features.version)
            coming = ComingPast(self._settings, features, list(self._committed.values()))
            self._await(coming)
        return coming.past()

    def _await(self, coming: ComingPast | None) -> None:
        if self._coming is not None:
            self._coming.drop()
        self._coming = coming
        sys.setswitchinterval(_SHORT_TURN_SECONDS if coming else _TURN_SECONDS)

    def _alive(self) -> None:
        """A history is being read back. Nothing is lost if that ends here: offsets are committed with batches alone."""
        self.moved_at, self.state = time.monotonic(), READING_BACK
        self._while_reading()
        if self._stopping():
            raise _ToldToStop

    @property
    def partitions(self) -> frozenset[int]:
        """The input's partitions that are this scorer's now; from any thread."""
        return self._consumer.partitions

    def _outputs(self, taken: Taken, batch: Counters) -> list[Output]:
        """Score a batch piece by piece, and count it."""
        outputs: list[Output] = []
        for start in range(0, len(taken.messages), PIECE):
            piece = slice(start, start + PIECE)
            source = Source(self._topics.transactions, taken.partitions[piece], taken.offsets[piece])
            values = list(map(Message.value, taken.messages[piece]))
            scored = self._scorer.score(values, source, taken.at_ns)
            batch.transactions += len(values)
            batch.predictions += len(scored.values)
            batch.dead_letters += len(scored.rejected)
            batch.alerts += len(scored.alerts)
            batch.known_fraud += scored.known_fraud
            batch.known_fraud_found += scored.known_fraud_found
            batch.inference_ns += scored.inference_ns
            batch.reasons.update(rejected.reason.value for rejected in scored.rejected.values())
            outputs += self._predictions(scored)
            alerts = [{"key": scored.keys[i], "value": scored.values[i]} for i in scored.alerts]
            outputs.append(Output(self._topics.alerts, alerts))
            outputs.append(Output(self._topics.dead_letters, self._dead_letters(scored, source, values)))
        return outputs

    def _predictions(self, scored: Scored) -> list[Output]:
        """Predictions keep their input's partition, so that a card's predictions stay in order."""
        outputs = []
        end = 0
        while end < len(scored.partitions):
            start, partition = end, scored.partitions[end]
            end = bisect_right(scored.partitions, partition, start)  # they are sorted
            pairs = zip(scored.keys[start:end], scored.values[start:end], strict=True)
            messages = [{"key": key, "value": value} for key, value in pairs]
            outputs.append(Output(self._topics.predictions, messages, partition % self._output_partitions))
        return outputs

    def _dead_letters(self, scored: Scored, source: Source, values: list[bytes | None]) -> list[dict[str, bytes]]:
        return [
            {
                "key": b"%b-%d-%d" % (source.topic.encode(), source.partitions[p], source.offsets[p]),
                "value": dead_letter(
                    values[p], rejected, source.topic, source.partitions[p], source.offsets[p], self._settings.scoring
                ),
            }
            for p, rejected in scored.rejected.items()
        ]
