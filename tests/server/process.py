"""A real server process on a free port of loopback, for tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SCRIPT = """
import sys
from puna.server import serve
key = sys.argv[1] or None
strict = "--strict" in sys.argv
serve("127.0.0.1", 0, api_key=key, strict=strict, log_level="warning", on_ready=lambda url: print(url, flush=True))
"""


@contextlib.contextmanager
def server_process(
    models: Path, *, api_key: str = "", strict: bool = False, data: Path | None = None, **environment: str
) -> Iterator[str]:
    """Runs one; gives its URL. It must end by itself when told to, with nothing on its standard error.

    `data` is the folder of its keys and usage; by default one of its own, gone afterwards.
    """
    with contextlib.ExitStack() as stack:
        folder = data or stack.enter_context(tempfile.TemporaryDirectory())
        options = [api_key, *(["--strict"] if strict else [])]
        yield from _serving(options, {"PUNA_MODELS": str(models), "PUNA_DATA": str(folder), **environment})


def _serving(options: list[str], environment: dict[str, str]) -> Iterator[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PUNA_", "OLLAMA_"))}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean, "PUNA_THREADS": "1", "PUNA_PREFIX_CACHE": "0", **environment},
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
