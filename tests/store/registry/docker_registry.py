"""Debian's docker-registry on a free port of loopback."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

BINARY = Path("/usr/bin/docker-registry")

CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@contextlib.contextmanager
def docker_registry(folder: Path) -> Iterator[str]:
    """Runs one whose files are in `folder`; gives its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(CONFIG.format(folder=folder / "files", port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([BINARY, "serve", config], stdout=log, stderr=log)
    try:
        _await(process, port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"docker-registry does not start (exit status {process.poll()})")
