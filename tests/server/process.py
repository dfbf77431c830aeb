"""A real server process on a free port of loopback, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = """
import sys
from puna.server import serve
key = sys.argv[1] or None
serve("127.0.0.1", 0, api_key=key, log_level="warning", on_ready=lambda url: print(url, flush=True))
"""


@contextmanager
def server_process(models: Path, *, api_key: str = "", **environment: str) -> Iterator[str]:
    """Runs one; gives its URL. It must end by itself when told to, with nothing on its standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PUNA_", "OLLAMA_"))}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT, api_key],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean, "PUNA_MODELS": str(models), "PUNA_THREADS": "1", "PUNA_PREFIX_CACHE": "0", **environment},
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if url:
            yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            _, errors = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert "Traceback" not in errors, errors
    assert process.returncode == 0, errors
