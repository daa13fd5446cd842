"""Two clients that take turns, and calls that do not come back, as librdkafka's at times when a broker dies."""

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from infra.settings import KafkaSettings, ScoringSettings
from scoring import producer as module
from scoring.producer import Aborted, TransactionalProducer
from tests.waiting import until


class Client:
    """Stands for librdkafka's producer; one call of it does not come back while `comes_back` is not set."""

    made: list["Client"] = []  # noqa: RUF012 - emptied by the fixture
    stuck_in = "send_offsets_to_transaction"
    fails = False

    def __init__(self, config: dict[str, Any]):
        self.name = config["transactional.id"]
        self.comes_back = threading.Event()
        self.called: list[str] = []
        self.made.append(self)

    def list_topics(self, *_: Any) -> None:
        """What each new client is asked first."""

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any) -> None:
            self.called.append(name)
            if name == self.stuck_in:
                self.thread = threading.current_thread()
                self.comes_back.wait()
                if self.fails:
                    raise KafkaException(KafkaError(KafkaError._FAIL, "injected"))

        return call


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> TransactionalProducer:
    Client.made = []
    monkeypatch.setattr(module, "Producer", Client)
    monkeypatch.setattr(module, "LATE_SECONDS", -1.9)
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.05)
    return TransactionalProducer(
        KafkaSettings(bootstrap_servers="nowhere:1"), ScoringSettings(transaction_timeout_seconds=2), "0"
    )


def send(producer: TransactionalProducer, committed: Callable[[int], None] = lambda _: None) -> None:
    producer.ready()
    producer.send([], [], None, committed)


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "flush", "commit_transaction"])
def test_a_call_that_does_not_come_back_is_left_to_a_successor(producer: TransactionalProducer, call: str, monkeypatch):
    monkeypatch.setattr(Client, "stuck_in", call)
    producer.recover()
    stuck, other = Client.made
    send(producer)
    with pytest.raises(Aborted, match="has not come back"):
        producer.settle()
    producer.recover()
    _, _, *successors = Client.made
    # Fenced before anything else is done, and the one that is stuck is not touched: that would be a crash.
    assert [client.name for client in successors] == [other.name, stuck.name], "whose turn it is comes first"
    assert [client.called for client in successors] == [["init_transactions"]] * 2
    calls = ["init_transactions", "begin_transaction", "send_offsets_to_transaction", "flush", "commit_transaction"]
    assert stuck.called == calls[: calls.index(call) + 1]
    for client in successors:
        client.comes_back.set()
    send(producer)
    producer.settle()
    assert successors[0].called[-1] == "commit_transaction"
    producer.close()
    # If it comes back after all, its thread ends, and lets go of the producer.
    assert stuck.thread.is_alive()
    stuck.comes_back.set()
    stuck.thread.join(60)
    assert not stuck.thread.is_alive()


def test_clients_take_turns_and_a_transaction_ends_after_the_one_before(producer: TransactionalProducer, monkeypatch):
    monkeypatch.setattr(Client, "stuck_in", "commit_transaction")
    producer.recover()
    first, second = Client.made
    assert first.name != second.name
    assert first.called == second.called == ["init_transactions"], "a scorer before us may have left either under way"
    ends: list[str] = []
    send(producer, lambda _: ends.append("first"))
    send(producer, lambda _: ends.append("second"))
    until(lambda: second.called[-1] == "flush", 60, "all of it is sent while the first is being committed")
    assert not ends
    second.comes_back.set()
    assert second.called[-1] == "flush", "and it is not committed before the first is"
    first.comes_back.set()
    producer.settle()
    assert ends == ["first", "second"]
    assert second.called[-1] == "commit_transaction"
    first.called.clear()
    send(producer)
    producer.settle()
    assert first.called == ["begin_transaction", "send_offsets_to_transaction", "flush", "commit_transaction"]
    producer.close()


def test_what_was_committed_counts_although_the_next_is_given_up(producer: TransactionalProducer):
    producer.recover()
    first, second = Client.made
    first.comes_back.set()
    ends: list[str] = []
    send(producer, lambda _: ends.append("first"))
    until(lambda: first.called[-1] == "commit_transaction", 60)
    send(producer, lambda _: ends.append("second"))
    with pytest.raises(Aborted, match="sending offsets"):
        producer.ready()
    assert ends == ["first"]
    second.comes_back.set()


def test_nothing_is_committed_behind_a_commit_that_failed(producer: TransactionalProducer, monkeypatch):
    monkeypatch.setattr(Client, "stuck_in", "commit_transaction")
    monkeypatch.setattr(Client, "fails", True)
    producer.recover()
    first, second = Client.made
    ends: list[str] = []
    send(producer, lambda _: ends.append("first"))
    send(producer, lambda _: ends.append("second"))
    second.comes_back.set()
    first.comes_back.set()
    with pytest.raises(Aborted, match="injected"):
        producer.settle()
    assert not ends
    assert "commit_transaction" not in second.called
    producer.recover()
    assert len(Client.made) == 4, "successors of both: what the second has sent is ended too"
    producer.close()


def test_what_was_left_too_early_may_take_longer_the_next_time(producer: TransactionalProducer):
    told = []
    for _ in range(3):
        producer.recover()
        send(producer)
        with pytest.raises(Aborted) as left:
            producer.settle()
        told.append(str(left.value))
    assert [text.split()[-2] for text in told] == ["0.05", "0.1", "0.1"], "no longer than a commit as a whole"
    for client in Client.made:
        client.comes_back.set()


def test_a_process_ends_although_a_call_has_not_come_back():
    code = (
        "import threading; from infra.daemon import DaemonThread\n"
        "DaemonThread('stuck').submit(threading.Event().wait)\n"
        "print('ended')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "ended\n"


def test_at_least_once_goes_on_with_a_new_client_after_a_fatal_error(monkeypatch: pytest.MonkeyPatch):
    made: list[Any] = []

    class Idempotent:
        """The first one is broken for good, as after a log that lost its end."""

        def __init__(self, _: dict[str, Any]):
            self.sent: list[Any] = []
            made.append(self)

        def produce_batch(self, _topic: str, messages: list[Any], _partition: int) -> int:
            if self is made[0]:
                raise KafkaException(KafkaError(KafkaError._FATAL, "out of order", fatal=True))
            self.sent += messages
            return len(messages)

        def purge(self) -> None:
            """Nothing is left of what it had."""

        def flush(self, _: float) -> int:
            return 0

    monkeypatch.setattr(module, "Producer", Idempotent)
    committed: list[Any] = []
    producer = module.IdempotentProducer(
        KafkaSettings(bootstrap_servers="nowhere:1"), ScoringSettings(), committed.append
    )
    outputs = [module.Output("Predictions", [{"key": b"k", "value": b"v"}])]
    with pytest.raises(Aborted, match="out of order"):
        producer.send(outputs, [], None, lambda _: None)
    producer.recover()
    producer.send(outputs, [], None, lambda _: None)
    producer.settle()
    assert len(made[1].sent) == len(committed) == 1
    producer.close()
