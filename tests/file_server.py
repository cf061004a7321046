"""A server on this machine with files by their paths, for downloads."""

import contextlib
import http.server
import threading
from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def serving(files: Mapping[str, bytes], num_missing: int = 0, stalls: bool = False) -> Iterator[str]:
    """Yields the address of a server that has these files until the block ends.

    Args:
        files: contents by name.
        num_missing: bytes that each file is cut short by, against the length that is announced.
        stalls: whether the rest never comes, instead of an end.
    """
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):  # noqa: N802
            body = files.get(self.path.removeprefix("/"))
            if body is None:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) - num_missing])
            self.wfile.flush()
            if stalls:
                ended.wait()

    with _running(Handler) as address:
        try:
            yield address
        finally:
            ended.set()


@contextlib.contextmanager
def answering(head: bytes) -> Iterator[str]:
    """Yields the address of a server that answers whatever is asked with these bytes, and says no more."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):  # noqa: N802
            self.wfile.write(head)

    with _running(Handler) as address:
        yield address


@contextlib.contextmanager
def _running(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Yields the address of a server until the block ends."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
