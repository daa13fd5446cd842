"""The case desk: who works on which case, what they found, and what the customer said.

What was found goes to the `Labels` topic, and that is the truth. Hazelcast holds what may be lost without harm:
who has taken which case (for a while), and which customers' answers are on their way to the topic.
"""

import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson
import polars as pl
from confluent_kafka import KafkaError, KafkaException, Producer

from dashboard import labels, links, queries, show
from dashboard.cluster import Cluster
from dashboard.labels import ASKED, FRAUD, GENUINE, LEARNED, VERDICTS, Label
from dashboard.links import Link, LinkRefused
from dashboard.stream import Stream
from infra.errors import TerminalError, TransientError
from infra.hazelcast import PREDICTIONS
from infra.kafka import client_config
from infra.kafka_errors import explained
from infra.settings import Settings

CLAIMS, ANSWERS = "caseClaims", "customerAnswers"
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
_POLL_SECONDS = 0.05
# Until a label that was sent is known to every dashboard: so long a judged case stays taken.
_KNOWN_SECONDS = 10
# An answer that is neither kept nor given up after this long was that of a dashboard that died.
_ANSWERING_SECONDS = 60


class CaseRefused(TerminalError):
    """The case is no longer as it was drawn. The message is for the analyst."""


class Desk:
    """One for all sessions of a process; several processes share the queue through Hazelcast."""

    def __init__(self, settings: Settings, cluster: Cluster, stream: Stream):
        self._settings, self._cluster, self._stream = settings, cluster, stream
        self._link_key = settings.dashboard.link_key.get_secret_value().encode()
        self._producer: Producer | None = None
        self._making = threading.Lock()

    def claims(self) -> dict[str, str]:
        """Who has taken which case, of those that are not judged.

        Raises:
            TransientError: Hazelcast is away.
        """
        claims = dict(self._cluster.on_map(CLAIMS, lambda claims: claims.entry_set()))
        judged = {number for number in claims if (label := self._stream.label(number)) and label.decides}
        return {number: who for number, who in claims.items() if number not in judged}

    def owner(self, number: str) -> str | None:
        """Who has taken a case; of one that is judged too, for a verdict can be corrected.

        Raises:
            TransientError: Hazelcast is away.
        """
        return self._cluster.on_map(CLAIMS, lambda claims: claims.get(number))

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

    def open_cases(self, suspects: pl.DataFrame) -> pl.DataFrame:
        """Those that nobody has judged, and whose customer has no time left to answer, if they were asked."""
        oldest = (datetime.now(UTC) - timedelta(hours=self._settings.dashboard.link_hours)).isoformat()
        known = map(self._stream.label, suspects["transaction_number"])
        is_open = [label is None or (label.verdict == ASKED and label.at < oldest) for label in known]
        return suspects.filter(pl.Series(is_open, dtype=pl.Boolean))

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

    def judge(self, label: Label, seen: str | None) -> None:
        """Send what an analyst found of a case that is theirs; a verdict closes it.

        Args:
            label: `by` has the case.
            seen: when the newest label came that the analyst had seen; None if there was none.

        Raises:
            CaseRefused: somebody else has spoken, or has the case, since it was drawn.
            TransientError: Kafka did not take it, or Hazelcast is away; nothing is known to have been said.
        """
        if not self._stream.labels_read:
            raise TransientError("the verdicts are still being read: try again in a moment")
        number, newest = label.transaction_number, self._stream.label(label.transaction_number)
        if newest is not None and newest.at != seen:
            what = VERDICTS.get(newest.verdict, newest.verdict).lower()
            raise CaseRefused(f"{newest.by or newest.source} said {what} meanwhile")
        # It may have lapsed while they were thinking.
        if (owner := self.take(number, label.by)) != label.by:
            raise CaseRefused(f"{owner} works on it by now")
        self._say(label)
        if label.decides:
            # Other dashboards will have heard of it by then. It is said, whether Hazelcast hears of it or not.
            with suppress(TransientError):
                self._cluster.on_map(CLAIMS, lambda claims: claims.put(number, label.by, ttl=_KNOWN_SECONDS))

    def ask_customer(self, number: str, who: str, seen: str | None) -> None:
        """Note that the customer is asked, with the link that they will get; raises what `judge` does."""
        link = links.issue(number, timedelta(hours=self._settings.dashboard.link_hours))
        ends = int(link.ends.timestamp())
        self.judge(Label(number, ASKED, "analyst", who, link=link.nonce, link_ends=ends), seen)

    def address(self, asked: Label) -> str | None:
        """Where the customer answers, as long as they can."""
        if asked.verdict != ASKED or not asked.link or (asked.link_ends or 0) <= datetime.now(UTC).timestamp():
            return None
        link = Link(asked.transaction_number, datetime.fromtimestamp(asked.link_ends or 0, UTC), asked.link)
        base = (self._settings.dashboard_url or f"http://127.0.0.1:{self._settings.local.dashboard_port}").rstrip("/")
        return f"{base}/answer?t={links.sign(link, self._link_key)}"

    def read_link(self, token: str) -> Label:
        """What a customer is asked, if their link can still be used: the newest word on it is that question.

        Raises:
            LinkRefused: it cannot.
            TransientError: what was said is not read yet.
        """
        link = links.verify(token, self._link_key)
        newest = self._stream.label(link.transaction_number)
        if newest is None or not self._stream.labels_read:
            raise TransientError("the label of this question is not read yet")
        if newest.link == link.nonce:
            if newest.verdict == ASKED:
                return newest
            raise LinkRefused("You have answered already. Thank you.")
        if newest.verdict == ASKED:
            raise LinkRefused("There is a newer link for this question. Please open that one.")
        raise LinkRefused("This has been settled, and needs no answer any more. Thank you.")

    def answer(self, token: str, was_me: bool) -> None:
        """Take a customer's answer, once.

        Raises:
            LinkRefused: the link cannot be used, or has been.
            TransientError: it could not be kept; the link can be used again.
        """
        asked, attempt = self.read_link(token), secrets.token_hex(8)
        # Two answers at the same moment: the client may repeat a call of its own, which then finds itself.
        first = self._cluster.on_map(
            ANSWERS, lambda answers: answers.put_if_absent(asked.link, attempt, ttl=_ANSWERING_SECONDS)
        )
        if first not in {None, attempt}:
            raise LinkRefused("An answer is being kept at this moment. Please look here again in a minute.")
        verdict = GENUINE if was_me else FRAUD
        try:
            self._say(Label(asked.transaction_number, verdict, "customer", "customer", link=asked.link))
        except TransientError:
            self._cluster.on_map(ANSWERS, lambda answers: answers.remove_if_same(asked.link, attempt))
            raise

    def _say(self, label: Label) -> None:
        """Send a label, with what the model had said."""
        number, newest = label.transaction_number, self._stream.label(label.transaction_number)
        known = self.prediction(number) or (msgspec.structs.asdict(newest) if newest else {})
        whole = msgspec.structs.replace(
            label,
            by=show.masked_note(label.by),
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            note=show.masked_note(label.note) if label.note else None,
            **{name: known.get(name) for name in LEARNED},
        )
        self._send(number, labels.encode(whole))
        self._stream.keep(whole)

    def _send(self, key: str, value: bytes) -> None:
        topic = self._settings.kafka.topics.labels
        told: list[KafkaError | None] = []
        deadline = time.monotonic() + _DELIVERY_SECONDS + 2
        try:
            with self._making:
                producer = self._producer = self._producer or Producer(
                    client_config(self._settings.kafka)
                    | {"enable.idempotence": True, "message.timeout.ms": int(_DELIVERY_SECONDS * 1000), "log_level": 0}
                )
            producer.produce(topic, value, key, on_delivery=lambda error, _: told.append(error))
            # Its own delivery, not everybody's: others may send at the same time, and poll for us.
            while not told and time.monotonic() < deadline:
                producer.poll(_POLL_SECONDS)
        except (KafkaException, BufferError) as error:
            cause = explained(error, "the verdict was not kept") if isinstance(error, KafkaException) else error
            raise TransientError(str(cause)) from error
        if not told or told[0]:
            raise TransientError(f"the verdict was not kept, please try again: {told[0] if told else 'Kafka is slow'}")
