"""The dead letters that are still open: what they are, where their originals are, and sending those again, once.

A dead letter holds its original cut and masked; the original itself stands in the input topic for as long as that keeps
it. A letter whose original was sent again is closed by a record of the same key without a value, in the same Kafka
transaction: whoever reads the topic later, or at the same time, sends it no second time.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, groupby

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from infra.errors import TransientError
from infra.kafka import REQUEST_TIMEOUT_SECONDS, client_config, init_transactions, partitions, reader_config
from infra.kafka_errors import explained, lost_or_explained
from infra.partitioner import shares
from infra.settings import KafkaSettings
from infra.topic_reader import TopicReader

# Letters closed in one transaction.
BATCH = 1_000
# Where a resend was killed, scorers stand in front of what it left open for this long.
TRANSACTION_TIMEOUT_SECONDS = 10
# For each of the two calls that undo what has failed: a person waits for them.
_ABORT_SECONDS = 5.0
# Originals closer together than this are read past one another, others are sought.
_NEAR = 10_000
_PREVIEW_BYTES = 300


@dataclass(frozen=True)
class DeadLetter:
    """One open dead letter.

    Attributes:
        key: `topic-partition-offset` of the original.
        preview: the beginning of the value, with card numbers masked, as the scorer kept it.
        sha256: of the original's whole value.
        at: when it was written.
        stands_in: the partition of `DeadLetters`. What closes it must be read after it, so it goes there too, whatever
            number of partitions the topic has by then.
    """

    key: str
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    size: int
    sha256: str
    preview: str
    at: datetime
    stands_in: int


@dataclass(frozen=True)
class Original:
    """What a dead letter was made of."""

    letter: DeadLetter
    key: bytes | None
    value: bytes


def open_letters(kafka: KafkaSettings) -> list[DeadLetter]:
    """Every dead letter that was not sent again, oldest first.

    Raises:
        TransientError: Kafka does not answer.
    """
    found: dict[bytes, DeadLetter] = {}
    topic = kafka.topics.dead_letters
    if topic not in partitions(kafka):
        return []
    reader = TopicReader(kafka, topic)
    try:
        for message in chain.from_iterable(reader.read(reader.starts(), reader.ends(), lambda _: None)):
            key, value = message.key() or b"", message.value()
            if value is None:
                found.pop(key, None)
            else:
                found[key] = _parsed(key, value, message)
    finally:
        reader.close()
    return sorted(found.values(), key=lambda letter: (letter.at, letter.partition, letter.offset))


def _parsed(key: bytes, value: bytes, message: Message) -> DeadLetter:
    body = json.loads(value)
    kept = base64.b64decode(body["value_base64"])
    return DeadLetter(
        key=key.decode(),
        reason=body["reason"],
        detail=body["detail"],
        topic=body["source_topic"],
        partition=body["source_partition"],
        offset=body["source_offset"],
        size=body["value_bytes"],
        sha256=body["value_sha256"],
        preview=kept[:_PREVIEW_BYTES].decode(errors="backslashreplace"),
        at=datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
        stands_in=message.partition() or 0,
    )


def originals(kafka: KafkaSettings, letters: Iterable[DeadLetter]) -> Iterator[Original]:
    """The originals of these letters that the input topic still has.

    Raises:
        TransientError: Kafka does not answer.
    """
    consumer = Consumer(reader_config(kafka, "fraudflow-dead-letters"))
    try:
        topics = consumer.list_topics(timeout=REQUEST_TIMEOUT_SECONDS).topics
        for (topic, partition), those in groupby(sorted(letters, key=_place), key=lambda each: _place(each)[:2]):
            if topic not in topics or partition not in topics[topic].partitions:  # it was made anew, with fewer
                continue
            low, high = consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_SECONDS
            )
            at: int | None = None
            for letter in those:
                if not low <= letter.offset < high:
                    continue
                if at is None or letter.offset - at > _NEAR:
                    consumer.assign([TopicPartition(topic, partition, letter.offset)])
                at = letter.offset
                message = _message_at(consumer, letter)
                value = None if message is None else message.value()
                if message is not None and hashlib.sha256(value or b"").hexdigest() == letter.sha256:
                    yield Original(letter, message.key(), value or b"")
    except KafkaException as error:
        raise explained(error, "cannot read the originals") from error
    finally:
        consumer.close()


def _place(letter: DeadLetter) -> tuple[str, int, int]:
    return letter.topic, letter.partition, letter.offset


def _message_at(consumer: Consumer, letter: DeadLetter) -> Message | None:
    """The record at the letter's offset; None where a compacted or aborted one has left a hole."""
    while True:
        message = consumer.poll(REQUEST_TIMEOUT_SECONDS)
        if message is None:
            raise TransientError(f"Kafka delivers nothing of {letter.topic}")
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        if (message.offset() or 0) >= letter.offset:
            return message if error is None and message.offset() == letter.offset else None


def resend(kafka: KafkaSettings, keys: set[str], repaired: dict[str, bytes]) -> tuple[int, list[DeadLetter]]:
    """Send the originals of these letters to the input topic again, and close the letters.

    Args:
        kafka: the cluster.
        keys: of the letters. Those that are closed by now are left out.
        repaired: values to send in place of the originals', by key.

    Returns:
        How many were sent, and the letters whose originals the input topic has no more.

    Raises:
        TransientError: Kafka does not answer; what was sent by then is closed, so try again.
    """
    producer = Producer(
        client_config(kafka)
        | {
            "transactional.id": "fraudflow-dead-letters",
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_SECONDS * 1000,
            "linger.ms": 5,
        }
    )
    try:
        # Shuts out a resend that is under way elsewhere; only then it is certain which letters are open.
        init_transactions(producer, kafka.topics.transactions, REQUEST_TIMEOUT_SECONDS)
        letters = [letter for letter in open_letters(kafka) if letter.key in keys]
        sent: set[str] = set()
        topic = kafka.topics.transactions
        count = partitions(kafka).get(topic, 0)
        for batch in _batches(originals(kafka, letters)):
            with _transaction(producer):
                for each in batch:
                    value, at = repaired.get(each.letter.key, each.value), _partition(each, topic, count)
                    producer.produce(topic, value, each.key, at, headers={"resent": each.letter.key})
                    producer.produce(kafka.topics.dead_letters, None, each.letter.key, each.letter.stands_in)
            sent |= {each.letter.key for each in batch}
    except KafkaException as error:
        raise lost_or_explained(error, "cannot send the dead letters again") from error
    return len(sent), [letter for letter in letters if letter.key not in sent]


@contextmanager
def _transaction(producer: Producer) -> Iterator[None]:
    """Commit at the end; on the way out of any failure, Ctrl-C among them, abort: scorers stand in front of it."""
    try:
        producer.begin_transaction()
        yield
        producer.commit_transaction(REQUEST_TIMEOUT_SECONDS)
    except BaseException:
        # Where this fails too, the transaction times out, or the next resend ends it.
        with suppress(KafkaException):
            # librdkafka would abort while the broker still adds partitions to the transaction, which it refuses.
            producer.flush(_ABORT_SECONDS)
            producer.abort_transaction(_ABORT_SECONDS)
        raise


def _partition(original: Original, topic: str, count: int) -> int:
    """Where the history of its card is: in the partition it came from; in another topic, in that of its key."""
    letter = original.letter
    return letter.partition if letter.topic == topic else int(shares([original.key or b""], count)[0])


def _batches(items: Iterator[Original]) -> Iterator[list[Original]]:
    batch: list[Original] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
