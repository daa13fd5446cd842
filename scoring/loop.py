"""Consume, score, produce: the loop that must lose nothing and double nothing.

One Kafka transaction holds the predictions, alerts and dead letters of a batch and the offsets of its input.
After anything that is not a commit, the consumer goes back to the committed offsets.
"""

import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaException, Message

from infra.settings import Settings
from scoring.consumer import BatchConsumer, Taken
from scoring.metrics import Counters
from scoring.producer import Aborted, Output, TransactionalProducer
from scoring.scorer import Scored, Scorer, Source, dead_letter

logger = logging.getLogger(__name__)

# Between tries while the broker is away: long enough to spare it, short enough to go on at once.
RETRY_SECONDS = 1.0


class ScoringLoop:
    """Runs a scorer between two topics until it is told to stop."""

    def __init__(self, settings: Settings, scorer: Scorer, slot: str, output_partitions: int):
        self._settings = settings
        self._scorer = scorer
        self._output_partitions = output_partitions
        self._consumer = BatchConsumer(settings.kafka, settings.scoring, logger.info)
        self._producer = TransactionalProducer(settings.kafka, settings.scoring, slot)
        self._must_rewind = False
        self.counters = Counters()

    def run(self, stopping: Callable[[], bool], between_batches: Callable[[], None]) -> None:
        """Score until `stopping()`; `between_batches()` is where features change and counts are told."""
        try:
            while not stopping():
                self._step()
                between_batches()
        finally:
            self._producer.close()
            self._consumer.close()

    def _step(self) -> None:
        try:
            if self._must_rewind:
                # What was under way must have ended, or the offsets to go back to are not known yet.
                self._producer.settle()
                self._consumer.rewind()
                self._must_rewind = False
            taken = self._consumer.take()
            if taken:
                self._score(taken)
        except (KafkaException, Aborted) as error:
            self.counters.aborts += 1
            self._must_rewind = True
            logger.warning("batch not committed, going back to the committed offsets: %s", error)
            time.sleep(RETRY_SECONDS)

    def _score(self, taken: Taken) -> None:
        started = time.perf_counter_ns()
        topics = self._settings.kafka.topics
        source = Source(
            topics.transactions,
            [m.partition() or 0 for m in taken.messages],
            [m.offset() or 0 for m in taken.messages],
        )
        scored = self._scorer.score([m.value() for m in taken.messages], source, started)
        self._producer.send(self._outputs(scored, source, taken.messages), taken.book, self._consumer.group_metadata())
        counters = self.counters
        counters.transactions += len(taken.messages)
        counters.predictions += len(scored.values)
        counters.dead_letters += len(scored.rejected)
        counters.alerts += len(scored.alerts)
        counters.known_fraud += scored.known_fraud
        counters.known_fraud_found += scored.known_fraud_found
        counters.batches += 1
        counters.inference_ns += scored.inference_ns
        counters.latency.add((time.perf_counter_ns() - started) / 1e9, len(taken.messages))

    def _outputs(self, scored: Scored, source: Source, messages: list[Message]) -> list[Output]:
        """Predictions keep their input's partition, so that a card's predictions stay in order."""
        topics = self._settings.kafka.topics
        predictions: dict[int, list[dict[str, bytes]]] = {}
        for key, value, p in zip(scored.keys, scored.values, scored.positions, strict=True):
            target = source.partitions[p] % self._output_partitions
            predictions.setdefault(target, []).append({"key": key, "value": value})
        letters = [
            {
                "key": b"%b-%d-%d" % (source.topic.encode(), source.partitions[p], source.offsets[p]),
                "value": dead_letter(
                    messages[p].value(),
                    rejected,
                    source.topic,
                    source.partitions[p],
                    source.offsets[p],
                    self._settings.scoring,
                ),
            }
            for p, rejected in scored.rejected.items()
        ]
        alerts = [{"key": scored.keys[i], "value": scored.values[i]} for i in scored.alerts]
        return [
            *(Output(topics.predictions, messages, target) for target, messages in predictions.items()),
            Output(topics.alerts, alerts),
            Output(topics.dead_letters, letters),
        ]
