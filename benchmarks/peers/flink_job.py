"""PyFlink's DataStream API with its Kafka connector, as its documentation has it: a source, `map`, a sink.

With --exactly-once, checkpoints every 100 ms commit the sink's transactions.
"""

import os
import sys

import orjson
from pyflink.common import Types, WatermarkStrategy
from pyflink.common.serialization import SimpleStringSchema
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)
from pyflink.datastream.functions import MapFunction, RuntimeContext
from work import BROKERS, GROUP, INPUT, OUTPUT, FraudModel

CHECKPOINT_MS = 100


class Score(MapFunction):
    """A transaction's JSON to its prediction's; the model is loaded where it is used, in the worker process."""

    def open(self, runtime_context: RuntimeContext) -> None:
        """Load the features and the model."""
        self._model = FraudModel()

    def map(self, value: str) -> str:
        """Score one transaction."""
        return orjson.dumps(self._model.score(orjson.loads(value))).decode()


def main() -> None:
    """Run until the process is ended."""
    exactly_once = "--exactly-once" in sys.argv
    environment = StreamExecutionEnvironment.get_execution_environment()
    environment.add_jars(f"file://{os.environ['PEER_FLINK_CONNECTOR']}")
    environment.set_python_executable(sys.executable)
    environment.set_parallelism(1)
    environment.enable_checkpointing(CHECKPOINT_MS)
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(BROKERS)
        .set_topics(INPUT)
        .set_group_id(GROUP)
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_value_only_deserializer(SimpleStringSchema())
        .build()
    )
    record = (
        KafkaRecordSerializationSchema.builder()
        .set_topic(OUTPUT)
        .set_value_serialization_schema(SimpleStringSchema())
        .build()
    )
    sink = (
        KafkaSink.builder()
        .set_bootstrap_servers(BROKERS)
        .set_record_serializer(record)
        .set_delivery_guarantee(DeliveryGuarantee.EXACTLY_ONCE if exactly_once else DeliveryGuarantee.AT_LEAST_ONCE)
        .set_transactional_id_prefix(GROUP)
        .set_property("transaction.timeout.ms", "60000")
        .build()
    )
    rows = environment.from_source(source, WatermarkStrategy.no_watermarks(), "transactions")
    rows.map(Score(), output_type=Types.STRING()).sink_to(sink)
    environment.execute("fraud")


if __name__ == "__main__":
    main()
