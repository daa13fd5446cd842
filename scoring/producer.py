"""The output side of the loop: one Kafka transaction for a batch, or none of it."""

import logging
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from infra.kafka import client_config
from infra.settings import KafkaSettings, ScoringSettings

logger = logging.getLogger(__name__)

PARTITION_BY_KEY = -1  # librdkafka's RD_KAFKA_PARTITION_UA


class Aborted(Exception):
    """The transaction was not committed; the batch must be taken again."""


class TransactionalProducer:
    """Sends the results of a batch together with its input offsets.

    librdkafka has no second version of the transaction protocol (KIP-890): after a call whose end is not known,
    a late commit or abort can hit the next transaction. So after any such error the producer is thrown away, and
    `init_transactions` of its successor fences what it had under way.
    """

    def __init__(self, kafka: KafkaSettings, scoring: ScoringSettings, slot: str):
        """`slot` names this producer's place for good: its successor after a crash fences it at once."""
        self._timeout = float(scoring.transaction_timeout_seconds)
        self._config: dict[str, Any] = client_config(kafka) | {
            "transactional.id": f"{scoring.group_id}-{slot}",
            # Readers wait for the transaction of a dead scorer that long.
            "transaction.timeout.ms": scoring.transaction_timeout_seconds * 1000,
            "compression.type": "lz4",
            "linger.ms": 5,
            "batch.size": 1_000_000,
            "batch.num.messages": 100_000,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1_048_576,
        }
        self._producer: Producer | None = None

    def send(self, outputs: "list[Output]", book: list[TopicPartition], group_metadata: object) -> None:
        """Produce the outputs and commit them with the offsets of their input.

        Raises:
            Aborted: nothing of it is visible; take the batch again from the committed offsets.
        """
        try:
            producer = self._producer or self._start()
            producer.begin_transaction()
            for output in outputs:
                output.produce(producer)
            producer.send_offsets_to_transaction(book, group_metadata, self._timeout)
            producer.commit_transaction(self._timeout)
        except (KafkaException, BufferError) as error:
            self._abort(error)
            raise Aborted(str(error)) from error

    def settle(self) -> None:
        """End what a thrown-away producer left under way; the committed offsets are final after that.

        Raises:
            KafkaException: the broker does not answer; nothing may be taken before it does.
        """
        if self._producer is None:
            self._start()

    def _start(self) -> Producer:
        producer = Producer(self._config)
        producer.init_transactions(self._timeout)
        self._producer = producer
        return producer

    def _abort(self, error: Exception) -> None:
        producer, self._producer = self._producer, None
        cause = error.args[0] if isinstance(error, KafkaException) else None
        if producer is None:
            return
        if isinstance(cause, KafkaError) and cause.txn_requires_abort():
            try:
                producer.abort_transaction(self._timeout)
            except KafkaException as failed:
                logger.warning("abort failed, starting a new producer: %s", failed)
            else:
                self._producer = producer
                return
        # Whatever else it was, its end is not known. Drop what is queued; the successor's epoch ends the rest.
        producer.purge()

    def close(self) -> None:
        """Let go of the producer. An open transaction is left to be fenced or to time out."""
        self._producer = None


class Output:
    """Messages for one topic."""

    def __init__(self, topic: str, messages: list[dict[str, Any]], partition: int = PARTITION_BY_KEY):
        """Args: `messages` have a key and a value; a `partition` of their own would be ignored by librdkafka."""
        self.topic, self.messages, self.partition = topic, messages, partition

    def produce(self, producer: Producer) -> None:
        """Hand the messages over.

        Raises:
            KafkaException: a message was refused.
            BufferError: the queue is full; the batch is larger than the queue may be.
        """
        if not self.messages:
            return
        queued = producer.produce_batch(self.topic, self.messages, self.partition)
        if queued != len(self.messages):
            refused = next(m["_error"] for m in self.messages if "_error" in m)
            raise refused if isinstance(refused, KafkaException) else KafkaException(refused)
