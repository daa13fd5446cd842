"""A server that answers with status codes and nothing else, as Prefect's does that is busy or refuses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from infra.local import ports


class Server(ThreadingHTTPServer):
    """Answers with one status code after the other, the last one for ever."""

    codes: list[int]
    asked = 0

    @property
    def url(self) -> str:
        return f"http://{ports.HOST}:{self.server_port}/api"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        code = self.server.codes[min(self.server.asked, len(self.server.codes) - 1)]
        self.server.asked += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(code)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering() -> Iterator[Server]:
    with Server((ports.HOST, 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
