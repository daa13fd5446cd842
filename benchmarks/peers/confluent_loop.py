"""confluent-kafka, row by row, as its examples have it: poll, work, produce; commit now and then.

With --exactly-once, a transaction holds the answers and the offsets. It ends after 10,000 rows or 0.1 s, which is
more than the example's 100 rows: favourable to throughput.
"""

import sys
import time

import orjson
from confluent_kafka import Consumer, Producer
from work import BROKERS, GROUP, INPUT, OUTPUT, FraudModel

COMMIT_ROWS, COMMIT_SECONDS = 10_000, 0.1


def main() -> None:
    """Run until the process is ended."""
    exactly_once = "--exactly-once" in sys.argv
    model = FraudModel()
    consumer = Consumer(
        {
            "bootstrap.servers": BROKERS,
            "group.id": GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        }
    )
    producer = Producer({"bootstrap.servers": BROKERS} | ({"transactional.id": GROUP} if exactly_once else {}))
    consumer.subscribe([INPUT])
    if exactly_once:
        producer.init_transactions()
        producer.begin_transaction()
    rows, committed = 0, time.monotonic()
    while True:
        message = consumer.poll(0.01)
        if message is not None:
            if message.error():
                raise RuntimeError(message.error())
            answer = model.score(orjson.loads(message.value()))
            produce(producer, answer)
            if not exactly_once:
                consumer.store_offsets(message)
            rows += 1
        if rows and (rows >= COMMIT_ROWS or time.monotonic() - committed > COMMIT_SECONDS):
            if exactly_once:
                producer.send_offsets_to_transaction(
                    consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
                )
                producer.commit_transaction()
                producer.begin_transaction()
            else:
                producer.flush()
                consumer.commit(asynchronous=False)
            rows, committed = 0, time.monotonic()


def produce(producer: Producer, answer: dict) -> None:
    """Hand one answer over; wait where the queue is full."""
    key, value = answer["transaction_number"], orjson.dumps(answer)
    while True:
        try:
            producer.produce(OUTPUT, value, key)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


if __name__ == "__main__":
    main()
