"""Ports of this machine: a free one, or a sentence about who holds the one that was asked for."""

import random
import socket
import time

import psutil

from infra.errors import TerminalError

HOST = "127.0.0.1"

# Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections. Among those, a
# client that keeps calling a dead server on this machine can be given the very port it calls: it then talks to
# itself, and the server cannot come back.
_FREE_PORTS = range(20_000, 32_768)
# Those that this process has chosen: whoever got one may not listen there yet.
_chosen: set[int] = set()
# A process that was killed is a zombie before the last of its threads has let its sockets go.
_DYING_SECONDS = 3.0


def choose(wanted: int, *, setting: str, previous: int | None = None) -> int:
    """The port to listen on: the wanted one, or for 0 any free one, at best the one of last time.

    A server that died and is started again must be found by the clients that knew it.

    Raises:
        TerminalError: somebody else listens there.
    """
    port = wanted
    if wanted == 0:
        port = previous if previous and _becomes_free(previous) else _any_free()
    elif not _becomes_free(wanted):
        raise TerminalError(
            f"port {wanted} is taken{_holder(wanted)}. Stop it, or set {setting} to another port (0: any free one)"
        )
    _chosen.add(port)
    return port


def is_free(port: int) -> bool:
    """Whether a server could listen on it now."""
    with socket.socket() as probe:
        # As Java and uvicorn do: connections of a server that just died linger, and do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _becomes_free(port: int) -> bool:
    deadline = time.monotonic() + _DYING_SECONDS
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def accepts(address: str) -> bool:
    """Whether something listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def _any_free() -> int:
    for port in random.sample(_FREE_PORTS, 100):
        if port not in _chosen and is_free(port):
            return port
    raise TerminalError(f"no free port among 100 from {_FREE_PORTS.start} to {_FREE_PORTS.stop - 1} of {HOST}")


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            at_port = connection.laddr and connection.laddr.port == port
            if at_port and connection.status == psutil.CONN_LISTEN and connection.pid:
                process = psutil.Process(connection.pid)
                return f" by {process.name()} (pid {process.pid}: {' '.join(process.cmdline())[:120]})"
    except psutil.Error:  # another user's process, or gone by now: the port is taken all the same
        pass
    return ""
