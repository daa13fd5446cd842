"""Bytewax with its Kafka operators: `python -m bytewax.run bytewax_flow:by_row`, or `bytewax_flow:by_batch`."""

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from confluent_kafka import OFFSET_BEGINNING
from work import BROKERS, INPUT, OUTPUT, FraudModel

# Rows that its source takes from a partition at once; its default.
BATCH_ROWS = 1000

_model = FraudModel()


def by_row() -> Dataflow:
    """Decode, score and encode with `map`."""
    flow = Dataflow("by_row")
    rows = _source(flow)
    scored = op.map("score", rows, lambda message: _answer(_model.score(orjson.loads(message.value))))
    kop.output("output", scored, brokers=[BROKERS], topic=OUTPUT)
    return flow


def by_batch() -> Dataflow:
    """The same with `flat_map_batch`: one call of the model for what its source took."""
    flow = Dataflow("by_batch")
    rows = _source(flow)
    scored = op.flat_map_batch("score", rows, _score_batch)
    kop.output("output", scored, brokers=[BROKERS], topic=OUTPUT)
    return flow


def _source(flow: Dataflow):
    taken = kop.input(
        "input",
        flow,
        brokers=[BROKERS],
        topics=[INPUT],
        starting_offset=OFFSET_BEGINNING,
        batch_size=BATCH_ROWS,
    )
    errors = op.inspect("errors", taken.errs)
    op.raises("crash", errors)
    return taken.oks


def _score_batch(messages: list[KafkaSourceMessage]) -> list[KafkaSinkMessage]:
    answers = _model.score_batch([orjson.loads(message.value) for message in messages])
    return [_answer(answer) for answer in answers]


def _answer(answer: dict) -> KafkaSinkMessage:
    return KafkaSinkMessage(answer["transaction_number"].encode(), orjson.dumps(answer))
