"""An HTTP endpoint that gives the same answer to every request, for as long as it is fed; a process of its own.

`python -m benchmarks.canned FILE` prints its port, and ends when its standard input does.
"""

import http.server
import sys
import threading
from pathlib import Path


class _Server(http.server.ThreadingHTTPServer):
    body = b""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main(file: str) -> None:
    """Serve a file's bytes."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.body = Path(file).read_bytes()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_port, flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
