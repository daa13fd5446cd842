"""Input for scorers, and waiting for what they make of it."""

from confluent_kafka import Producer

from infra.group_reader import GroupReader
from infra.kafka import client_config
from infra.settings import Settings
from infra.topic_reader import TopicReader
from infra.transaction_sources import FrameSource, Source
from simulator.population import Population
from simulator.transactions import Simulation
from tests.kafka_log import read
from tests.waiting import until


def simulated(population: Population, count: int) -> Source:
    simulation = Simulation(population, count, 1)
    return FrameSource(simulation.frames, count, f"test-{count}")


def drain(settings: Settings, seconds: float = 90) -> None:
    """Wait until the group has committed everything."""
    group = GroupReader(settings.kafka, settings.scoring.group_id, settings.kafka.topics.transactions)
    try:
        until(group.drained, seconds, "all input scored")
    finally:
        group.close()


def committed(settings: Settings) -> int:
    return len(read(settings.kafka, settings.kafka.topics.predictions))


def written(settings: Settings) -> int:
    """Records in `Predictions`, transactions' ends and what is not committed among them: it waits for nothing."""
    reader = TopicReader(settings.kafka, settings.kafka.topics.predictions)
    try:
        return sum(reader.ends().values())
    finally:
        reader.close()


def produce(settings: Settings, sent: list[bytes]) -> None:
    """Send values as they are."""
    producer = Producer(client_config(settings.kafka))
    for value in sent:
        producer.produce(settings.kafka.topics.transactions, value)
    assert producer.flush(30) == 0
