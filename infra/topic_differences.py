"""Where the topics that exist are not as the settings would have made them."""

from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined] - public, not marked so

from infra.kafka import INSYNC, REQUEST_TIMEOUT_SECONDS, Admin, partitions_wanted, topic_config, topic_names
from infra.kafka_errors import explained
from infra.settings import KafkaSettings

_PARTITIONS, _REPLICAS = "partitions", "replication factor"
_UNCLEAN = "unclean.leader.election.enable"


@dataclass(frozen=True)
class TopicDifference:
    """Where a topic that exists is not as the settings would have made it."""

    topic: str
    what: str
    found: str
    wanted: str

    @property
    def risks_loss(self) -> bool:
        """Whether one broker can take committed records with it."""
        return self.what in {_REPLICAS, INSYNC, _UNCLEAN}

    def __str__(self) -> str:
        return f"topic {self.topic} has {self.what} {self.found}, and the settings say {self.wanted}"


def topic_differences(kafka: KafkaSettings) -> list[TopicDifference]:
    """Compare the topics of the pipeline that exist with the settings. More partitions or replicas are no difference.

    Raises:
        TransientError: the cluster did not answer in time.
        TerminalError: we may not see how topics are configured.
    """
    admin = Admin(kafka)
    present = admin.topics()
    names = [name for name in topic_names(kafka) if name in present]
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    futures = admin.client.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_SECONDS) if resources else {}
    found = []
    try:
        replicas = admin.replicas(names)
        configs = {resource.name: future.result() for resource, future in futures.items()}
    except KafkaException as error:
        raise explained(error, "cannot see how the topics are configured") from error
    for name in names:
        for what, has, least in (
            (_PARTITIONS, present[name], partitions_wanted(kafka, name)),
            (_REPLICAS, replicas[name], kafka.replication_factor),
        ):
            if has < least:
                found.append(TopicDifference(name, what, str(has), str(least)))
        # Not asked for at creation: it is the cluster's to say, and some do not let a topic say it.
        unclean = {_UNCLEAN: "false"} if kafka.replication_factor >= 3 else {}
        for key, wanted in (topic_config(kafka, name) | unclean).items():
            entry = configs[name].get(key)
            if entry is None or entry.value == wanted or (key == INSYNC and int(entry.value) > int(wanted)):
                continue
            found.append(TopicDifference(name, key, entry.value, wanted))
    return found
