"""Reading topics as a stranger would: read_committed, without joining the group that is looked at."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec  # pyright: ignore[reportPrivateImportUsage]

from infra.errors import FraudflowError, TerminalError, TransientError
from infra.kafka import REQUEST_TIMEOUT_SECONDS, Admin, known_partitions, patiently, reader_config, wait_for_brokers
from infra.kafka_errors import explained
from infra.settings import KafkaSettings

# Longer than the transaction of any producer here may stay open: until it ends, readers stand in front of it.
STANDSTILL_SECONDS = 120.0
PROGRESS_SECONDS = 2.0
_BATCH = 10_000
_WAIT_SECONDS = 0.1
_SHORT_WAIT_SECONDS = 0.02
Progress = Callable[[str], None]


class TopicReader:
    """Reads one topic with partitions assigned by hand."""

    def __init__(self, kafka: KafkaSettings, topic: str, end_ms: int = 20):
        """Connect.

        Args:
            kafka: the cluster.
            topic: to read.
            end_ms: how late it may be noticed that the end is reached. As often a broker without news is asked, which
                is too often for somebody who goes on reading.

        Raises:
            TransientError: Kafka does not answer.
            TerminalError: there is no such topic.
        """
        self._kafka, self._admin = kafka, Admin(kafka)
        count = known_partitions(self._admin, topic)
        if not count:
            raise TerminalError(
                f"Kafka has no topic {topic}: run the deployment `provision`, or mend FRAUDFLOW_KAFKA__TOPICS__*"
            )
        self.topic = topic
        self._at: dict[int, int] = {}
        self._failure: FraudflowError | None = None
        self._numbers = range(count)
        self._consumer = Consumer(
            reader_config(kafka, f"fraudflow-reader-{uuid.uuid4().hex}")
            | {
                "auto.offset.reset": "earliest",
                "queued.max.messages.kbytes": 65_536,
                # By default fetching rests for a second when the queue is full.
                "fetch.queue.backoff.ms": 10,
                # How long the broker holds back the news that nothing is left; by default half a second.
                "fetch.wait.max.ms": end_ms,
            }
        )
        patiently(partial(wait_for_brokers, self._consumer, topic), f"cannot read {topic}")

    def starts(self) -> dict[int, int]:
        """The first offset that retention has left, by partition."""
        return self._offsets(OffsetSpec.earliest())

    def ends(self) -> dict[int, int]:
        """The offset behind each partition's last record, committed or not."""
        return self._offsets(OffsetSpec.latest())

    def committed_ends(self) -> dict[int, int]:
        """The same, but in front of the first transaction that is still open."""
        return self._offsets(OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)

    def kept_seconds(self) -> float:
        """How old a record is at least that retention deletes; 0 where that is not known.

        Raises:
            TransientError: the cluster does not answer.
        """
        resource = ConfigResource(ConfigResource.Type.TOPIC, self.topic)
        (asked,) = self._admin.client.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_SECONDS).values()
        try:
            kept_ms = int(asked.result()["retention.ms"].value)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                return 0.0
            raise explained(error, f"cannot see how long {self.topic} keeps records") from error
        return max(kept_ms / 1000, 0.0)  # kept for ever is -1: somebody has deleted them

    def offsets_at(self, timestamp_ms: int) -> dict[int, int]:
        """The first offset of each partition at or after a time; the end where there is none."""
        ends = self.ends()
        found = self._offsets(OffsetSpec.for_timestamp(timestamp_ms))
        return {p: found[p] if found[p] >= 0 else end for p, end in ends.items()}

    def read(
        self,
        starts: Mapping[int, int],
        ends: Mapping[int, int],
        progress: Progress,
        alive: Callable[[], None] = lambda: None,
    ) -> Iterator[list[Message]]:
        """Every committed record from `starts` to `ends` at least, in batches; each batch may mix partitions.

        The broker answers a commit or an abort before its markers are in every partition, so readers wait for
        transactions that are still open.

        Args:
            starts: offsets to begin at, by partition; those not named are left out.
            ends: offsets to end at.
            progress: is told how far it is.
            alive: called several times a second, also while nothing comes.

        Raises:
            TransientError: nothing came for `STANDSTILL_SECONDS`.
        """
        self.seek({p: start for p, start in starts.items() if start < ends[p]})
        total = sum(ends[p] - starts[p] for p in starts)
        done, told = 0, time.monotonic()
        for messages in self.until(ends, alive):
            done += len(messages)
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                progress(f"{self.topic}: {done:,} records read, of at most {total:,}")
            yield messages
        progress(f"{self.topic}: {done:,} records")

    def seek(self, starts: Mapping[int, int]) -> None:
        """Read from these offsets on; partitions not named are left out."""
        self._at = dict(starts)
        self._consumer.assign([TopicPartition(self.topic, p, start) for p, start in starts.items()])

    def until(self, ends: Mapping[int, int], alive: Callable[[], None] = lambda: None) -> Iterator[list[Message]]:
        """The records up to these ends at least, from where the last reading stopped."""
        moved = time.monotonic()
        while any(at < ends[p] for p, at in self._at.items()):
            alive()
            messages = self._take(_WAIT_SECONDS)
            if messages:
                moved = time.monotonic()
                yield messages
            elif time.monotonic() - moved > STANDSTILL_SECONDS:
                raise TransientError(
                    f"{self.topic}: nothing comes for {STANDSTILL_SECONDS:.0f} s; is a transaction left open?"
                )

    def arrived(self) -> list[Message]:
        """What is there to be read without waiting."""
        return self._take(_SHORT_WAIT_SECONDS)

    def _take(self, seconds: float) -> list[Message]:
        messages = [] if self._failure else self._consume(seconds)
        if self._failure and not messages:
            failure, self._failure = self._failure, None
            raise failure
        return messages

    def _consume(self, seconds: float) -> list[Message]:
        """What came before an error is returned, as it does not come again to a caller who goes on after the error."""
        # `consume` alone would wait for a full batch until the time is over.
        first = self._consumer.poll(seconds)
        messages: list[Message] = []
        # A message without a value is as false as None.
        for message in [] if first is None else [first, *self._consumer.consume(_BATCH - 1, 0)]:
            error, partition, offset = message.error(), message.partition() or 0, message.offset() or 0
            if error is None:
                messages.append(message)
                self._at[partition] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                # Told once for each end. Behind the last record stand the markers of its transaction.
                self._at[partition] = max(self._at.get(partition, 0), offset)
            else:
                self._failure = explained(KafkaException(error), f"cannot read {self.topic}")
        return messages

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _offsets(
        self, spec: OffsetSpec | None, isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
    ) -> dict[int, int]:
        ask: dict[TopicPartition, Any] = {TopicPartition(self.topic, p): spec for p in self._numbers}

        def answer() -> dict[int, int]:
            found = self._admin.client.list_offsets(
                ask, isolation_level=isolation, request_timeout=REQUEST_TIMEOUT_SECONDS
            )
            try:
                return {asked.partition: future.result().offset for asked, future in found.items()}
            except KafkaException:
                # After a broker's restart it asks with the leader's epoch from before, for ever (librdkafka 2.16).
                self._admin = Admin(self._kafka)
                raise

        return patiently(answer, f"cannot read the offsets of {self.topic}")
