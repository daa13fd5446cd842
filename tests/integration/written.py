"""Input, answers and offsets written by hand for the verifier, so that each can be wrong by itself."""

import json
from collections.abc import Sequence

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.kafka import client_config
from infra.settings import Settings
from verify.verification import Options, Verdict, verify

ROWS = 20


class Log:
    """Writes input, answers and offsets, so that each can be wrong by itself."""

    def __init__(self, settings: Settings):
        self.settings, self.topics = settings, settings.kafka.topics
        config = client_config(settings.kafka) | {"transactional.id": f"log-{settings.scoring.group_id}"}
        self._producer = Producer(config)
        self._producer.init_transactions(30)

    def send(self, topic: str, values: Sequence[dict | bytes], partition: int = 0, commit: bool = True) -> None:
        producer = self._producer
        producer.begin_transaction()
        for value in values:
            key = value.get("transaction_number", "k") if isinstance(value, dict) else "k"
            producer.produce(topic, value if isinstance(value, bytes) else json.dumps(value), key, partition)
        producer.flush(30)
        (producer.commit_transaction if commit else producer.abort_transaction)(30)

    def transactions(self, rows: int = ROWS, first: int = 0) -> None:
        """Numbered from `first`, as `answer` names them where that is the first one's offset."""
        self.send(self.topics.transactions, [{"trans_num": f"t{first + row}"} for row in range(rows)])

    def commit(self, offset: int) -> None:
        consumer = Consumer(client_config(self.settings.kafka) | {"group.id": self.settings.scoring.group_id})
        consumer.commit(offsets=[TopicPartition(self.topics.transactions, 0, offset)], asynchronous=False)
        consumer.close()

    def letter(self, offset: int, **changes: object) -> None:
        source = {"source_topic": self.topics.transactions, "source_partition": 0, "source_offset": offset}
        self.send(self.topics.dead_letters, [source | changes])

    def delete_before(self, topic: str, offset: int) -> None:
        """As retention does."""
        admin = AdminClient(client_config(self.settings.kafka))
        for future in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
            future.result()

    def answers(self, offsets, **changes: object) -> None:
        self.send(self.topics.predictions, [answer(offset, **changes) for offset in offsets])


def answer(offset: int, **changes: object) -> dict:
    return {
        "transaction_number": f"t{offset}",
        "fraud_probability": offset / 7,
        "source_partition": 0,
        "source_offset": offset,
        "model_version": "m",
        "features_version": "f",
    } | changes


def found(log: Log, **options: object) -> tuple[str, Verdict]:
    """The letters of the invariants that are violated."""
    verdict = verify(log.settings, Options(**({"drained": True, "with_map": False} | options)))
    return "".join(check.letter for check in verdict.checks if check.state == "violated"), verdict
