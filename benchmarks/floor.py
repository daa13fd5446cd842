"""What no scorer can go below: consume, decode, ask the model, produce and commit, and nothing else.

    python -m benchmarks.floor DATA      (started by the suite, with its settings in the environment)

The same batches, the same client settings, one Kafka transaction a batch. Look-ups, features and encoding are left out:
each batch gets the model inputs and the answers that the scorer made of the first one, so that the model walks
its trees as far and the broker gets as many bytes.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.bench import STATIC_MODEL
from infra.kafka import client_config, partitions
from infra.settings import Settings, get_settings
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.model import Model, load_model
from scoring.scorer import Scorer, Source
from scoring.transaction import Transaction
from scoring.worker import collect_by_hand

_TIMEOUT_SECONDS = 10.0


class _Recorder(Model):
    """A model that keeps what it was last asked."""

    def predict(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As the model does."""
        self.asked = inputs
        return super().predict(inputs)


def main() -> None:
    """Run until the process is ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    settings = get_settings()
    features = Features(read_feature_files(asked.data))
    consumer, producer = _consumer(settings), _producer(settings)
    producer.init_transactions(_TIMEOUT_SECONDS)
    topics, output_partitions = settings.kafka.topics, partitions(settings.kafka)[settings.kafka.topics.predictions]
    decode = msgspec.json.Decoder(Transaction).decode
    model = load_model(STATIC_MODEL)
    inputs, answers = None, []
    collect_by_hand()
    while True:
        first = consumer.poll(0.2)
        if first is None:
            continue
        messages = [first, *consumer.consume(settings.scoring.max_batch - 1, 0)]
        if inputs is None or len(messages) > len(inputs):
            inputs, answers = _sample(features, settings, [m.value() or b"" for m in messages])
        rows = [decode(message.value() or b"") for message in messages]
        model.predict(inputs[: len(messages)])
        outputs: dict[int, list[dict[str, Any]]] = {}
        for message, row, answer in zip(messages, rows, answers, strict=False):
            outputs.setdefault((message.partition() or 0) % output_partitions, []).append(
                {"key": row.trans_num, "value": answer}
            )
        last = {message.partition(): message.offset() for message in messages}
        producer.begin_transaction()
        for partition, output in outputs.items():
            producer.produce_batch(topics.predictions, output, partition)
        book = [TopicPartition(topics.transactions, p or 0, (offset or 0) + 1) for p, offset in last.items()]
        producer.send_offsets_to_transaction(book, consumer.consumer_group_metadata(), _TIMEOUT_SECONDS)
        producer.commit_transaction(_TIMEOUT_SECONDS)


def _sample(features: Features, settings: Settings, values: list[bytes]) -> tuple[np.ndarray, list[bytes]]:
    """The model's inputs and the answers of a batch."""
    model = load_model(STATIC_MODEL)
    recorder = _Recorder(model.manifest, model.session, model.input_name, model.outputs)
    source = Source(settings.kafka.topics.transactions, [0] * len(values), list(range(len(values))))
    scored = Scorer(recorder, features, settings.scoring).score(values, source, time.perf_counter_ns())
    return recorder.asked, scored.values


def _consumer(settings: Settings) -> Consumer:
    consumer = Consumer(
        client_config(settings.kafka)
        | {
            "group.id": settings.scoring.group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 32_768,
            "queued.min.messages": 4 * settings.scoring.max_batch,
            "fetch.min.bytes": 20_000,
            "fetch.wait.max.ms": 5,
            # Its default lets a full queue run dry: fetching pauses for a second.
            "fetch.queue.backoff.ms": 10,
        }
    )
    consumer.subscribe([settings.kafka.topics.transactions])
    return consumer


def _producer(settings: Settings) -> Producer:
    return Producer(
        client_config(settings.kafka)
        | {
            "transactional.id": f"{settings.scoring.group_id}-floor",
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 50,
            "compression.type": "lz4",
            "linger.ms": 5,
            "batch.size": 1_000_000,
            "batch.num.messages": 100_000,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1_048_576,
        }
    )


if __name__ == "__main__":
    main()
