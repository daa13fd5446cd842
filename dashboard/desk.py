"""The case desk: who works on which case, what they found, and what the customer said.

What was found goes to the `Labels` topic, and that is the truth. Hazelcast holds what may be lost without harm:
who has taken which case (for a while), and which customers' links are used.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import polars as pl
from confluent_kafka import KafkaException, Producer

from dashboard import links, queries, show
from dashboard.cluster import Cluster
from dashboard.links import Link, LinkRefused
from dashboard.stream import Stream
from infra.errors import TransientError
from infra.hazelcast import PREDICTIONS
from infra.kafka import client_config, explained
from infra.settings import Settings

logger = logging.getLogger(__name__)

CLAIMS, ANSWERS = "caseClaims", "customerAnswers"
FRAUD, GENUINE, ASKED = "fraud", "genuine", "asked"
VERDICTS = {FRAUD: "Fraud", GENUINE: "Genuine", ASKED: "Customer asked"}
FALSE_POSITIVE_REASONS = (
    "Customer was travelling",
    "Unusual but planned purchase",
    "Family member used the card",
    "Merchant's place is recorded wrongly",
    "Subscription or instalment",
    "Customer confirmed it",
    "Other",
)
_DELIVERY_SECONDS = 10.0
_LEARNED = ("fraud_probability", "amount", "transaction_date", "model_version", "is_fraud")


@dataclass(frozen=True)
class Label:
    """What somebody says about a transaction."""

    transaction_number: str
    verdict: str
    """`fraud`, `genuine`, or `asked`: the customer has been asked, nothing is known yet."""
    source: str
    """`analyst` or `customer`."""
    by: str
    reason: str | None = None
    note: str | None = None
    link: str | None = None


class Desk:
    """One for all sessions of a process; several processes share the queue through Hazelcast."""

    def __init__(self, settings: Settings, cluster: Cluster, stream: Stream):
        self._settings, self._cluster, self._stream = settings, cluster, stream
        self._producer: Producer | None = None

    def claims(self) -> dict[str, str]:
        """Who has taken which case.

        Raises:
            TransientError: Hazelcast is away.
        """
        return dict(self._cluster.on_map(CLAIMS, lambda claims: claims.entry_set()))

    def take(self, number: str, who: str) -> str:
        """Take a case, unless somebody has it. Returns who has it now.

        Raises:
            TransientError: Hazelcast is away.
        """
        seconds = self._settings.dashboard.claim_minutes * 60
        return self._cluster.on_map(CLAIMS, lambda claims: claims.put_if_absent(number, who, ttl=seconds)) or who

    def take_next(self, queue: pl.DataFrame, who: str) -> str | None:
        """Take the first case of a queue that nobody has; None if there is none.

        Raises:
            TransientError: Hazelcast is away.
        """
        taken = self.claims()
        for number in queue["transaction_number"]:
            if number not in taken and self.take(number, who) == who:
                return number
        return None

    def release(self, number: str, who: str) -> None:
        """Give a case back that one has.

        Raises:
            TransientError: Hazelcast is away.
        """
        self._cluster.on_map(CLAIMS, lambda claims: claims.remove_if_same(number, who))

    def closed(self) -> list[str]:
        """The transactions that are judged, or whose customer still has time to answer."""
        oldest = (datetime.now(UTC) - timedelta(hours=self._settings.dashboard.link_hours)).isoformat()
        return [
            number
            for number, label in self._stream.labels().items()
            if label.get("verdict") != ASKED or str(label.get("at")) >= oldest
        ]

    def open_cases(self, suspects: pl.DataFrame) -> pl.DataFrame:
        """Those of the suspected transactions that are not closed, the largest amount at risk first."""
        return suspects.filter(~pl.col("transaction_number").is_in(self.closed())).sort(
            "at_risk", "transaction_number", descending=[True, False]
        )

    def prediction(self, number: str) -> dict[str, Any] | None:
        """All that is kept of a transaction's prediction, without its card number; None if it is not there.

        Raises:
            TransientError: Hazelcast is away.
        """
        value = self._cluster.on_map(PREDICTIONS, lambda predictions: predictions.get(number))
        if value is None:
            # The map of the suspects reaches further back than that of all.
            question = queries.record(number)
            suspect = self._cluster.query(question.statement, *question.parameters)
            if suspect.is_empty():
                return None
            value = suspect.item()
        record = orjson.loads(str(value))
        record.pop("credit_card_number", None)
        return record

    def history(self, numbers: list[str], columns: Sequence[str]) -> pl.DataFrame:
        """These columns of the transactions that Hazelcast still holds of these, the newest first.

        Raises:
            TransientError: Hazelcast is away.
        """
        held = self._cluster.on_map(PREDICTIONS, lambda predictions: predictions.get_all(numbers)) if numbers else {}
        records = [orjson.loads(str(value)) for value in held.values()]
        rows = [{name: record.get(name) for name in columns} for record in records]
        frame = pl.DataFrame(rows, schema=list(columns), infer_schema_length=None)
        return frame.sort("transaction_date", descending=True)

    def say(self, label: Label) -> dict[str, Any]:
        """Send a label, with what the model had said. Returns it as sent, once Kafka has it.

        Raises:
            TransientError: Kafka did not take it; nothing is known to have been said.
        """
        said = self._stream.labels().get(label.transaction_number, {})
        known = self.prediction(label.transaction_number) or said
        record = {
            "transaction_number": label.transaction_number,
            "verdict": label.verdict,
            "source": label.source,
            "by": show.masked(label.by),
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "reason": label.reason,
            "note": show.masked(label.note) if label.note else None,
            "link": label.link,
        } | {name: known.get(name) for name in _LEARNED}
        self._send(label.transaction_number, orjson.dumps(record))
        return record

    def link_for(self, number: str) -> str:
        """The address for the customer to answer at."""
        settings = self._settings.dashboard
        token = links.sign(number, settings.link_key.get_secret_value().encode(), timedelta(hours=settings.link_hours))
        base = (self._settings.dashboard_url or f"http://127.0.0.1:{self._settings.local.dashboard_port}").rstrip("/")
        return f"{base}/answer?t={token}"

    def read_link(self, token: str) -> Link:
        """A customer's link, if it can still be used.

        Raises:
            LinkRefused: it cannot.
            TransientError: Hazelcast is away.
        """
        link = links.verify(token, self._settings.dashboard.link_key.get_secret_value().encode())
        said = self._stream.labels().get(link.transaction_number, {})
        if said.get("link") == link.nonce or self._cluster.on_map(ANSWERS, lambda used: used.contains_key(link.nonce)):
            raise LinkRefused("You have answered already. Thank you.")
        return link

    def answer(self, token: str, was_me: bool) -> None:
        """Take a customer's answer, once.

        Raises:
            LinkRefused: the link cannot be used, or has been.
            TransientError: it could not be kept; the link can be used again.
        """
        link = self.read_link(token)
        verdict = GENUINE if was_me else FRAUD
        # Longer than the link itself can be used: after that its own end refuses it.
        seconds = (link.ends - datetime.now(UTC)).total_seconds() + 3600
        if self._cluster.on_map(ANSWERS, lambda used: used.put_if_absent(link.nonce, verdict, ttl=seconds)) is not None:
            raise LinkRefused("You have answered already. Thank you.")
        try:
            self.say(Label(link.transaction_number, verdict, "customer", "customer", link=link.nonce))
        except TransientError:
            self._cluster.on_map(ANSWERS, lambda used: used.remove(link.nonce))
            raise

    def _send(self, key: str, value: bytes) -> None:
        topic = self._settings.kafka.topics.labels
        failures: list[str] = []
        try:
            if self._producer is None:
                self._producer = Producer(
                    client_config(self._settings.kafka)
                    | {"enable.idempotence": True, "message.timeout.ms": int(_DELIVERY_SECONDS * 1000), "log_level": 0}
                )
            self._producer.produce(
                topic, value, key, on_delivery=lambda error, _: failures.append(str(error)) if error else None
            )
            left = self._producer.flush(_DELIVERY_SECONDS + 2)
        except (KafkaException, BufferError) as error:
            cause = explained(error, "the verdict was not kept") if isinstance(error, KafkaException) else error
            raise TransientError(str(cause)) from error
        if left or failures:
            raise TransientError(
                f"the verdict was not kept, please try again: {'; '.join(failures) or 'Kafka is slow'}"
            )
