"""Sending dead letters again: into the partition where the card's history is, and without standing in anybody's way."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from cli import dead_letters as dead_letters_command
from infra import dead_letters
from infra.dead_letters import open_letters, resend
from infra.errors import InputError, TransientError
from infra.kafka import client_config
from infra.partitioner import shares
from infra.settings import KafkaSettings, ScoringSettings, Settings
from scoring.scorer import dead_letter
from scoring.transaction import Reason, Rejected
from tests.kafka_log import grow, read

pytestmark = pytest.mark.server

CARDS = [b"40000000000000%02d" % number for number in range(20)]


def put(settings: Settings, sent: list[tuple[bytes, int]]) -> None:
    """Send transactions with these keys to these partitions, and write a dead letter of each, as a scorer does."""
    topics = settings.kafka.topics
    producer = Producer(client_config(settings.kafka))
    for key, partition in sent:
        producer.produce(topics.transactions, b"value of " + key, key, partition)
    assert producer.flush(30) == 0
    for message in read(settings.kafka, topics.transactions):
        put_letter(producer, settings, message.value() or b"", message.partition() or 0, message.offset() or 0)
    assert producer.flush(30) == 0


def put_letter(producer: Producer, settings: Settings, value: bytes, partition: int, offset: int) -> None:
    topic = settings.kafka.topics.transactions
    why = Rejected(Reason.UNKNOWN_CUSTOMER, "no customer has this card")
    letter = dead_letter(value, why, topic, partition, offset, ScoringSettings())
    producer.produce(settings.kafka.topics.dead_letters, letter, f"{topic}-{partition}-{offset}")


def keys(kafka: KafkaSettings) -> set[str]:
    return {letter.key for letter in open_letters(kafka)}


def by_card(kafka: KafkaSettings, topic: str, resent: bool) -> dict[bytes | None, int | None]:
    """Of each card the partition of its transaction; of those that were sent again, or of the others."""
    return {m.key(): m.partition() for m in read(kafka, topic) if bool(m.headers()) == resent}


def test_a_transaction_is_sent_again_to_the_partition_it_came_from(settings):
    """Wherever a producer's own rule would put it: a seeding's, and that of a sender who names partitions himself."""
    kafka, topic = settings.kafka, settings.kafka.topics.transactions
    seeded = zip(CARDS[:10], shares(CARDS[:10], kafka.partitions).tolist(), strict=True)
    named = [(card, number % kafka.partitions) for number, card in enumerate(CARDS[10:])]
    put(settings, [*seeded, *named])
    assert resend(kafka, keys(kafka), {}) == (20, [])
    first = by_card(kafka, topic, resent=False)
    assert len(first) == 20
    assert by_card(kafka, topic, resent=True) == first
    assert open_letters(kafka) == []


def test_in_a_topic_of_another_name_a_card_has_the_partition_of_its_key(settings):
    kafka = settings.kafka
    put(settings, [(card, 0) for card in CARDS])
    renamed = kafka.model_copy(deep=True)
    renamed.topics.transactions = kafka.topics.labels
    assert resend(renamed, keys(kafka), {}) == (20, [])
    expected = dict(zip(CARDS, shares(CARDS, kafka.partitions).tolist(), strict=True))
    assert by_card(kafka, kafka.topics.labels, resent=True) == expected


def test_a_letter_whose_partition_is_gone_stays_and_the_others_are_sent(settings):
    put(settings, [(CARDS[0], 1)])
    producer = Producer(client_config(settings.kafka))
    put_letter(producer, settings, b"of a topic that had more partitions", settings.kafka.partitions, 0)
    assert producer.flush(30) == 0
    sent, gone = resend(settings.kafka, keys(settings.kafka), {})
    assert (sent, [letter.partition for letter in gone]) == (1, [settings.kafka.partitions])
    assert len(open_letters(settings.kafka)) == 1


class Failing(Producer):
    """Fails as it is told to, before the call is made."""

    config: dict[str, Any]
    errors: dict[str, Callable[[], BaseException]]

    def __init__(self, config: dict[str, Any]):
        super().__init__(config)
        type(self).config = config

    def produce(self, topic: str, *arguments: Any, **named: Any) -> None:
        if topic.startswith("DeadLetters") and "produce" in self.errors:
            raise self.errors["produce"]()
        super().produce(topic, *arguments, **named)

    def commit_transaction(self, *arguments: Any) -> None:
        if "commit" in self.errors:
            raise self.errors["commit"]()
        super().commit_transaction(*arguments)


@pytest.mark.parametrize(
    ("at", "error", "told"),
    [
        ("produce", KeyboardInterrupt, KeyboardInterrupt),
        ("commit", KeyboardInterrupt, KeyboardInterrupt),
        ("commit", lambda: KafkaException(KafkaError(KafkaError._TIMED_OUT)), TransientError),
    ],
    ids=["Ctrl-C while it sends", "Ctrl-C before the commit", "no answer to the commit"],
)
def test_a_resend_that_fails_leaves_no_transaction_open(settings, monkeypatch, at, error, told):
    put(settings, [(card, 0) for card in CARDS[:3]])
    monkeypatch.setattr(dead_letters, "Producer", Failing)
    monkeypatch.setattr(Failing, "errors", {at: error}, raising=False)
    # By itself it would end after the time that readers wait, and not before.
    monkeypatch.setattr(dead_letters, "TRANSACTION_TIMEOUT_SECONDS", 600)
    monkeypatch.setattr("infra.topic_reader.STANDSTILL_SECONDS", 30.0)
    everything = keys(settings.kafka)
    with pytest.raises(told):
        resend(settings.kafka, everything, {})
    assert by_card(settings.kafka, settings.kafka.topics.transactions, resent=True) == {}
    assert keys(settings.kafka) == everything
    monkeypatch.setattr(Failing, "errors", {})
    assert resend(settings.kafka, everything, {}) == (3, [])
    assert open_letters(settings.kafka) == []


def test_what_a_killed_resend_leaves_open_holds_scorers_up_no_longer_than_a_killed_scorer(settings, monkeypatch):
    monkeypatch.setattr(dead_letters, "Producer", Failing)
    monkeypatch.setattr(Failing, "errors", {}, raising=False)
    resend(settings.kafka, set(), {})
    assert Failing.config["transaction.timeout.ms"] <= settings.scoring.transaction_timeout_seconds * 1000


def test_an_export_that_breaks_off_leaves_no_card_number(settings, tmp_path, monkeypatch):
    put(settings, [(card, 0) for card in CARDS])
    whole = dead_letters_command.originals

    def breaks_off(*arguments: Any) -> Any:
        yield next(whole(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(dead_letters_command, "originals", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        dead_letters_command.export(tmp_path / "letters.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_used_are_told_by_name(settings, tmp_path):
    with pytest.raises(InputError, match=r"nowhere/letters\.jsonl: cannot be written: No such file"):
        dead_letters_command.export(tmp_path / "nowhere" / "letters.jsonl")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/letters\.jsonl: cannot be written: Not a directory"):
        dead_letters_command.export(tmp_path / "file" / "letters.jsonl")
    with pytest.raises(InputError, match=r"repaired\.jsonl: cannot be read: .*No such file"):
        dead_letters_command.send_again(repaired=tmp_path / "repaired.jsonl")


def test_a_letter_is_closed_for_good_though_its_topic_has_more_partitions_by_then(settings):
    """What closes it must be read after it: in another partition it could come first."""
    kafka = settings.kafka
    put(settings, [(card, 0) for card in CARDS])
    grow(kafka, kafka.topics.dead_letters, 3 * kafka.partitions)
    assert resend(kafka, keys(kafka), {}) == (20, [])
    places = defaultdict(set)
    for message in read(kafka, kafka.topics.dead_letters):
        places[message.key()].add(message.partition())
    assert [len(of_one) for of_one in places.values()] == [1] * 20
    assert open_letters(kafka) == []


def test_a_resend_that_another_one_has_shut_out_may_be_tried_again(settings, monkeypatch):
    put(settings, [(CARDS[0], 0)])
    fenced = KafkaException(KafkaError(KafkaError._FENCED, "another took its place", fatal=True))
    monkeypatch.setattr(Failing, "errors", {"commit": lambda: fenced}, raising=False)
    monkeypatch.setattr(dead_letters, "Producer", Failing)
    with pytest.raises(TransientError, match="another took its place"):
        resend(settings.kafka, keys(settings.kafka), {})
