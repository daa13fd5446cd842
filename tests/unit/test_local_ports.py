"""Ports: a free one, or a sentence that says who is in the way and what to set."""

import os
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import TerminalError
from infra.local import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((ports.HOST, 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_names_its_holder_and_the_setting(taken: int) -> None:
    with pytest.raises(TerminalError) as caught:
        ports.choose(taken, setting="FRAUDFLOW_LOCAL__KAFKA_PORT")
    message = str(caught.value)
    assert f"port {taken} is taken" in message
    assert f"pid {os.getpid()}" in message
    assert "FRAUDFLOW_LOCAL__KAFKA_PORT" in message


def test_a_port_that_somebody_holds_on_all_addresses_is_taken() -> None:
    with socket.create_server(("", 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


def test_zero_gives_the_port_of_last_time_if_it_can(taken: int) -> None:
    free = ports.choose(0, setting="")
    assert ports.choose(0, setting="", previous=free) == free
    assert ports.choose(0, setting="", previous=taken) != taken


def test_two_servers_get_two_ports_before_either_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ports.choose(0, setting="")
    monkeypatch.setattr(random, "sample", lambda range_of_ports, count: [first, *range_of_ports[:count]])
    assert ports.choose(0, setting="") != first


def test_a_dying_server_is_waited_for() -> None:
    server = socket.create_server((ports.HOST, 0))
    port = server.getsockname()[1]
    dies = threading.Timer(0.3, server.close)
    dies.start()
    assert ports.choose(0, setting="", previous=port) == port, "those who knew it would look for it there"
    dies.join()


def test_free_ports_are_none_that_the_kernel_gives_to_clients() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    chosen = {ports.choose(0, setting="") for _ in range(20)}
    assert max(chosen) < min(lowest, 32_768)
    assert len(chosen) > 1


def test_accepts_only_where_somebody_listens(taken: int) -> None:
    assert ports.accepts(f"{ports.HOST}:{taken}")
    assert not ports.accepts(f"{ports.HOST}:{ports.choose(0, setting='')}")
