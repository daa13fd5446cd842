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
    """Stands for librdkafka's producer; its offsets are never sent while `comes_back` is not set."""

    made: list["Client"] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, _: dict[str, Any]):
        self.comes_back = threading.Event()
        self.called: list[str] = []
        self.made.append(self)

    def send_offsets_to_transaction(self, *_: Any) -> None:
        self.thread = threading.current_thread()
        self.comes_back.wait()

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.called.append(name)


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> TransactionalProducer:
    Client.made = []
    monkeypatch.setattr(module, "Producer", Client)
    monkeypatch.setattr(module, "LATE_SECONDS", -1.9)
    return TransactionalProducer(
        KafkaSettings(bootstrap_servers="nowhere:1"), ScoringSettings(transaction_timeout_seconds=2), "0"
    )


def test_a_commit_that_does_not_come_back_is_left_to_a_successor(producer: TransactionalProducer):
    producer.send([], [], None)
    with pytest.raises(Aborted, match="has not come back"):
        producer.settle()
    (stuck,) = Client.made
    producer.recover()
    _, successor = Client.made
    # Fenced before anything else is done, and the one that is stuck is not touched: that would be a crash.
    assert successor.called == ["init_transactions"]
    assert stuck.called == ["init_transactions", "begin_transaction"]
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


def test_a_process_ends_although_a_call_has_not_come_back():
    code = (
        "import threading; from infra.daemon import DaemonThread\n"
        "DaemonThread('stuck').submit(threading.Event().wait)\n"
        "print('ended')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "ended\n"
