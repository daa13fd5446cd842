"""The Hazelcast client, with the settings that its defaults get wrong for a pipeline."""

from hazelcast.client import HazelcastClient
from hazelcast.config import IntType, ReconnectMode
from hazelcast.errors import HazelcastError

from infra.errors import TerminalError, TransientError
from infra.settings import HazelcastSettings

CUSTOMERS, MERCHANTS, MANIFEST = "customerMap", "merchantMap", "featureManifest"
PREDICTIONS, CARD_ACTIVITY, SNAPSHOTS = "predictionResult", "cardActivity", "featureSnapshot"
# Those of the predictions that are worth a look.
SUSPECTS = "suspectedPredictions"
# What the projection fills.
PROJECTED = (PREDICTIONS, SUSPECTS, CARD_ACTIVITY)
# The mapping of predictionResult that people's own SQL reads: it has no card numbers.
PREDICTION_VIEW = "predictionView"


def connect(settings: HazelcastSettings, timeout_seconds: float | None = None) -> HazelcastClient:
    """A connected client; `timeout_seconds` to connect in place of the setting's.

    Raises:
        TransientError: no member answers.
        TerminalError: no member is named and no local stack is up.
    """
    if not settings.members:
        raise TerminalError(
            "no Hazelcast: start the local stack with `fraudflow up`, or name yours in FRAUDFLOW_HAZELCAST__MEMBERS"
        )
    try:
        return HazelcastClient(
            cluster_name=settings.cluster_name,
            cluster_members=settings.members,
            cluster_connect_timeout=timeout_seconds or settings.connect_timeout_seconds,
            invocation_timeout=settings.invocation_timeout_seconds,
            # The writes here are idempotent puts: sent again, they change nothing; not sent again, one
            # dead member fails every call that was under way.
            redo_operation=True,
            operation_backup_timeout=1,
            reconnect_mode=ReconnectMode.ON,
            # Python's default is a 32-bit int, which refuses card numbers and millisecond times.
            default_int_type=IntType.LONG,
        )
    except (HazelcastError, OSError) as error:
        raise TransientError(f"Hazelcast at {', '.join(settings.members)} does not answer: {error}") from error
