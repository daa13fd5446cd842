"""Threads that follow Kafka for as long as the dashboard runs."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.errors import FraudflowError
from infra.kafka import partitions_now, reader_config
from infra.kafka_errors import explained
from infra.settings import KafkaSettings

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
_GROWTH_SECONDS = 10.0


def for_ever(name: str, work: Callable[[], None], failed: Callable[[str], None]) -> None:
    """Begin a thread that works, and works again when that has ended; `failed` is told why it has."""

    def run() -> None:
        while True:
            try:
                work()
            except FraudflowError as error:
                failed(str(error))
            except KafkaException as error:
                failed(str(explained(error, "Kafka does not answer")))
            except Exception:  # a thread that ends would leave the pages old without a word
                logger.exception("%s failed", name)
                failed("the dashboard made a mistake; its log says more")
            time.sleep(_RETRY_SECONDS)

    threading.Thread(target=run, name=name, daemon=True).start()


def follower(kafka: KafkaSettings) -> Consumer:
    """A consumer that follows topics from where it is told to, and says nothing in the log of the pages."""
    config = {
        "auto.offset.reset": "earliest",
        "log_level": 0,
        # By default fetching rests for a second when the queue is full: what is behind is read in bursts then.
        "fetch.queue.backoff.ms": 10,
        # What comes in 100 ms, or a lot: otherwise the broker is asked once for each batch of each scorer.
        "fetch.min.bytes": 100_000,
        "fetch.wait.max.ms": 100,
    }
    return Consumer(reader_config(kafka, "fraudflow-dashboard") | config)


def arrived(consumer: Consumer, count: int, seconds: float) -> tuple[list[Message], list[tuple[str, int]]]:
    """What came, and the partitions, by topic and number, whose end was reached.

    Raises:
        KafkaException: the consumer cannot go on; that Kafka is away is no reason.
    """
    messages, ended = [], []
    for message in consumer.consume(count, seconds):
        error = message.error()
        if error is None:
            messages.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            ended.append((message.topic() or "", message.partition() or 0))
        elif error.code() not in {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}:
            raise KafkaException(error)
    return messages, ended


class Growth:
    """Takes in the partitions that topics get while they are followed, each from its beginning."""

    def __init__(self, consumer: Consumer, known: dict[str, int]):
        """`known`: how many partitions of each topic the consumer follows."""
        self._consumer, self._known = consumer, dict(known)
        self._look = time.monotonic() + _GROWTH_SECONDS

    def take_in(self) -> None:
        """Look for new ones, every ten seconds; to be called in between."""
        if time.monotonic() < self._look:
            return
        with suppress(KafkaException):  # Kafka is away: what it has got meanwhile is seen when it is back
            for topic, known in self._known.items():
                there = partitions_now(self._consumer, topic, known)
                if there > known:
                    self._consumer.incremental_assign([TopicPartition(topic, p, 0) for p in range(known, there)])
                    self._known[topic] = there
        self._look = time.monotonic() + _GROWTH_SECONDS
