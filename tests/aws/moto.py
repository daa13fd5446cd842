"""Simulated AWS, a process of its own that prints its address and ends with its standard input."""

import os
import sys

from moto.server import ThreadedMotoServer


def main() -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    os._exit(0)  # its threads are of no more use, and stopping them takes seconds


if __name__ == "__main__":
    main()
