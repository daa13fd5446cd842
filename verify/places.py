"""Where the input topic can have a record: nothing else can be the source of an answer."""

from collections.abc import Sequence
from contextlib import closing

from infra.settings import KafkaSettings
from infra.topic_reader import TopicReader


class Places:
    """The offsets of the input's partitions."""

    def __init__(self, kafka: KafkaSettings):
        """Ask for them.

        Raises:
            TransientError: Kafka does not answer.
            TerminalError: the topic is missing.
        """
        self._kafka = kafka
        self.starts, self._ends = self._ask()

    def have(self, sources: Sequence[tuple[int, int]]) -> list[bool]:
        """Which of these partitions and offsets it has, or had; of answers that have been read.

        Raises:
            TransientError: Kafka does not answer.
        """
        if not all(map(self._has, sources)):
            # The input grows meanwhile, and may be given partitions; what is answered by now is there by now.
            self._ends = self._ask()[1]
        return list(map(self._has, sources))

    def _has(self, source: tuple[int, int]) -> bool:
        partition, offset = source
        return 0 <= offset < self._ends.get(partition, 0)

    def _ask(self) -> tuple[dict[int, int], dict[int, int]]:
        with closing(TopicReader(self._kafka, self._kafka.topics.transactions)) as reader:
            return reader.starts(), reader.ends()
