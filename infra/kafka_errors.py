"""What Kafka's errors are to us: one that the next try may cure, or one that a person must mend."""

from confluent_kafka import KafkaError, KafkaException

from infra.errors import TerminalError, TransientError

ADVICE = "Check the address, the login and the rights in FRAUDFLOW_KAFKA__*"

# What a broker says that has just started, or of a topic that is just made; librdkafka does not ask again itself for
# every call.
STARTING = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError._NOENT,  # librdkafka found no leader of a partition
}
# And what else may be over at the next try: Java's clients call these errors retriable too.
_TRANSIENT = STARTING | {
    KafkaError._TRANSPORT,
    KafkaError._DESTROY_BROKER,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_CONTROLLER,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.CONCURRENT_TRANSACTIONS,
    KafkaError.THROTTLING_QUOTA_EXCEEDED,
    KafkaError._RESOLVE,  # a name server may be away; a name that is wrong is in the message
    KafkaError._WAIT_COORD,
}


def explained(error: KafkaException, what: str) -> TransientError | TerminalError:
    """Our error for Kafka's: one that a retry may cure, or one that a person must mend."""
    cause = error.args[0]
    if cause.retriable() or cause.code() in _TRANSIENT:
        return TransientError(f"{what}: {cause.str()}")
    return TerminalError(f"{what}: {cause.str()}. {ADVICE}")


_LOST_TRANSACTION = {
    KafkaError._FENCED,
    KafkaError._STATE,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.CONCURRENT_TRANSACTIONS,
}
# The same answer at every try, although librdkafka tells some of them as a failed transaction.
REFUSED_RECORD = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}


def lost_or_explained(error: KafkaException, what: str) -> TransientError | TerminalError:
    """The same for one that ended a transaction.

    One that failed, or that the broker gave up because we were too slow or somebody took its place, may be begun anew.
    """
    cause = error.args[0]
    lost = cause.txn_requires_abort() or cause.fatal() or cause.code() in _LOST_TRANSACTION
    if lost and cause.code() not in REFUSED_RECORD:
        return TransientError(f"{what}: {cause.str()}")
    return explained(error, what)
