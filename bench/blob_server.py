"""A registry of one model with one large blob, for `bench pull`: as quick as a file can be sent, and it counts.

    python -m bench.blob_server FILE SHA256

prints its port, and for each line it reads the number of the blob's bytes that it has sent so far.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import socket
import sys
import threading
from pathlib import Path

CONFIG = b'{"model_format":"gguf"}'
SEND_BUFFER = 1 << 18  # bytes: what a client that dies has not been sent should not be counted


class Server(http.server.ThreadingHTTPServer):
    """One file, under its digest."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, file: Path, digest: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.file, self.digest, self.size = file, digest, file.stat().st_size
        self.sent = 0
        self.lock = threading.Lock()
        parts = [("vnd.ollama.image.model", digest, self.size)]
        config = {"mediaType": "config", "digest": f"sha256:{hashlib.sha256(CONFIG).hexdigest()}", "size": len(CONFIG)}
        layers = [
            {"mediaType": f"application/{kind}", "digest": f"sha256:{of}", "size": size} for kind, of, size in parts
        ]
        self.manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients are killed here."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Manifest, config and blob."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""

    def setup(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        super().setup()

    def do_GET(self) -> None:
        if self.path.endswith(self.server.digest):
            self._send_file()
        else:
            body = self.server.manifest if "/manifests/" in self.path else CONFIG
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def _send_file(self) -> None:
        size = self.server.size
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = (int(match[1]), min(size, int(match[2]) + 1)) if match else (0, size)
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        with self.server.file.open("rb") as file:
            while start < end:
                sent = os.sendfile(self.connection.fileno(), file.fileno(), start, min(end - start, 1 << 20))
                start += sent
                with self.server.lock:
                    self.server.sent += sent


def main() -> None:
    """Until standard input ends."""
    server = Server(Path(sys.argv[1]), sys.argv[2])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    for _ in sys.stdin:
        print(server.sent, flush=True)


if __name__ == "__main__":
    main()
