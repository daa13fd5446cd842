"""The rules of consume-transform-produce, each broken once, in a process of the tests alone."""

from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from infra.kafka import client_config
from scoring.consumer import BatchConsumer, Taken
from scoring.producer import Output, TransactionalProducer
from tests.faults.plan import consumer_overrides

VARIABLE = "MUTATION"


def stay_ahead() -> None:
    """After an abort, go on where the consumer stands."""
    assert BatchConsumer.go_back
    BatchConsumer.go_back = lambda self, committed: None


def commit_positions() -> None:
    """Commit `position()` of everything assigned in place of the book of what was processed."""
    take = BatchConsumer.take

    def taking(self: BatchConsumer) -> Taken | None:
        taken = take(self)
        if taken:
            consumer = self._consumer
            taken.book = [at for at in consumer.position(consumer.assignment()) if at.offset >= 0]
        return taken

    BatchConsumer.take = taking


def read_uncommitted() -> None:
    """Read what other producers have not committed, and what they aborted."""
    consumer_overrides["isolation.level"] = "read_uncommitted"


def commit_by_itself() -> None:
    """Let the consumer commit what it delivered, every 100 ms."""
    consumer_overrides.update(
        {"enable.auto.commit": True, "enable.auto.offset.store": True, "auto.commit.interval.ms": 100}
    )


def keep_the_producer() -> None:
    """Use the producer again after a commit whose end is not known, as if nothing had been under way."""
    assert TransactionalProducer._throw_away

    def kept(self: TransactionalProducer) -> None:
        while self._open:
            self._idle.append(self._open.popleft().client)

    TransactionalProducer._throw_away = kept


def end_out_of_turn() -> None:
    """End a transaction whether or not the one before it has ended well."""
    commit = TransactionalProducer._commit

    def committing(self: TransactionalProducer, *arguments: Any) -> int:
        *others, _ = arguments
        return commit(self, *others, None)

    TransactionalProducer._commit = committing


def keep_the_metadata() -> None:
    """Fetch the group's metadata once."""
    fetch = BatchConsumer.group_metadata

    def fetched(self: BatchConsumer) -> object:
        if not hasattr(self, "_first_metadata"):
            self._first_metadata = fetch(self)
        return self._first_metadata

    BatchConsumer.group_metadata = fetched


def name_the_group_only() -> None:
    """Send offsets with the metadata of a consumer that never subscribed: no generation, no member."""
    construct = BatchConsumer.__init__
    assert BatchConsumer.group_metadata

    def constructed(self: BatchConsumer, kafka: Any, scoring: Any, *rest: Any) -> None:
        construct(self, kafka, scoring, *rest)
        self._stranger = Consumer(client_config(kafka) | {"group.id": scoring.group_id})

    def fetched(self: BatchConsumer) -> object:
        self._consumer.consumer_group_metadata()
        return self._stranger.consumer_group_metadata()

    BatchConsumer.__init__ = constructed
    BatchConsumer.group_metadata = fetched


def keep_the_batch() -> None:
    """Score what was taken before the partitions changed hands."""
    BatchConsumer._rebalanced = property(lambda self: False, lambda self, value: None)


def dead_letters_outside() -> None:
    """Send dead letters at once, by a producer of their own."""
    produce = Output.produce
    send = TransactionalProducer.send

    def sending(self: TransactionalProducer, outputs: list[Output], *rest: Any) -> None:
        if not hasattr(self, "_plain"):
            self._plain = Producer({"bootstrap.servers": self._idle[0]._config["bootstrap.servers"]})
        for output in outputs:
            if output.topic.startswith("DeadLetters"):
                produce(output, self._plain)
        self._plain.flush(10)
        send(self, [output for output in outputs if not output.topic.startswith("DeadLetters")], *rest)

    TransactionalProducer.send = sending


def offsets_first() -> None:
    """Commit the offsets in a transaction of their own, then the outputs in the next."""
    send = TransactionalProducer.send

    def sending(
        self: TransactionalProducer, outputs: list[Output], book: list[TopicPartition], group: object, committed: Any
    ) -> None:
        send(self, [], book, group, lambda at: None)
        self.settle()
        send(self, outputs, [], group, committed)

    TransactionalProducer.send = sending


def offsets_afterwards() -> None:
    """Commit the outputs in a transaction of their own, then the offsets in the next."""
    send = TransactionalProducer.send

    def sending(
        self: TransactionalProducer, outputs: list[Output], book: list[TopicPartition], group: object, committed: Any
    ) -> None:
        send(self, outputs, [], group, lambda at: None)
        self.settle()
        send(self, [], book, group, committed)

    TransactionalProducer.send = sending


ALL: dict[str, Callable[[], None]] = {
    mutation.__name__: mutation
    for mutation in (
        stay_ahead,
        commit_positions,
        read_uncommitted,
        commit_by_itself,
        keep_the_producer,
        end_out_of_turn,
        keep_the_metadata,
        name_the_group_only,
        keep_the_batch,
        dead_letters_outside,
        offsets_first,
        offsets_afterwards,
    )
}


def apply(name: str) -> None:
    """Break that rule in this process; no name breaks none."""
    if name:
        ALL[name]()
