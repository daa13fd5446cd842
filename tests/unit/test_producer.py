"""A client that does not come back from a commit, as librdkafka does at times when a broker dies."""

import subprocess
import sys
import threading
from typing import Any

import pytest

from infra.settings import KafkaSettings, ScoringSettings
from scoring import producer as module
from scoring.producer import Aborted, TransactionalProducer


class Client:
    """Stands for librdkafka's producer; one call of it does not come back while `comes_back` is not set."""

    made: list["Client"] = []  # noqa: RUF012 - emptied by the fixture
    stuck_in = "send_offsets_to_transaction"

    def __init__(self, _: dict[str, Any]):
        self.comes_back = threading.Event()
        self.called: list[str] = []
        self.made.append(self)

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any) -> None:
            self.called.append(name)
            if name == self.stuck_in:
                self.thread = threading.current_thread()
                self.comes_back.wait()

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


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_a_call_that_does_not_come_back_is_left_to_a_successor(producer: TransactionalProducer, call: str, monkeypatch):
    monkeypatch.setattr(Client, "stuck_in", call)
    producer.send([], [], None)
    with pytest.raises(Aborted, match="has not come back"):
        producer.settle()
    (stuck,) = Client.made
    producer.recover()
    _, successor = Client.made
    # Fenced before anything else is done, and the one that is stuck is not touched: that would be a crash.
    assert successor.called == ["init_transactions"]
    calls = ["init_transactions", "begin_transaction", "send_offsets_to_transaction", "commit_transaction"]
    assert stuck.called == calls[: calls.index(call) + 1]
    successor.comes_back.set()
    producer.send([], [], None)
    producer.settle()
    assert successor.called[-1] == "commit_transaction"
    producer.close()
    # If it comes back after all, its thread ends, and lets go of the producer.
    assert stuck.thread.is_alive()
    stuck.comes_back.set()
    stuck.thread.join(60)
    assert not stuck.thread.is_alive()


def test_what_was_left_too_early_may_take_longer_the_next_time(producer: TransactionalProducer):
    told = []
    for _ in range(3):
        producer.recover()
        producer.send([], [], None)
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
