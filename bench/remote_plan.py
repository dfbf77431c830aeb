"""`puna plan` of a model in a registry on loopback: how long the command takes, and how much of the model it reads.

python -m bench planned remote MODEL...
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from os import environ
from pathlib import Path

from tests.store.registry_server import RegistryServer

from bench.planned import FOLDER, results
from bench.results import Machine, Result
from puna.store import layers

NAME = "library/far"
ROUNDS = 3


def run(models: Sequence[Path]) -> None:
    """Measure, print, keep the results."""
    for path in models:
        with RegistryServer() as registry:
            registry.add_model(NAME, "latest", [(layers.MODEL, path.read_bytes())])
            rounds = [{"puna": _once(registry)} for _ in range(ROUNDS)]
        print(f"{path.stem}: {rounds[-1]['puna']}", flush=True)
        Result("remote", path.stem, Machine.here(1), {}, {}, rounds, path.stat().st_size).save(FOLDER)


def _once(registry: RegistryServer) -> dict[str, float]:
    before, started = registry.sent, time.perf_counter()
    command = [
        sys.executable,
        "-c",
        "from puna.cli import main; main()",
        "plan",
        f"{registry.host}/{NAME}",
        "--insecure",
        "--json",
    ]
    with tempfile.TemporaryDirectory() as store:
        ran = subprocess.run(command, env={**environ, "PUNA_MODELS": store}, capture_output=True, check=True)
    json.loads(ran.stdout)
    return {"seconds": time.perf_counter() - started, "bytes": float(registry.sent - before)}


def table() -> str:
    """Markdown."""
    lines = ["| model | its file | read | seconds, the whole command |", "|---|---:|---:|---:|"]
    for result, _, _ in results("remote"):
        read, seconds = (result.median("puna", measure) or 0 for measure in ("bytes", "seconds"))
        lines.append(f"| {result.model} | {result.file_bytes / 1e9:.2f} GB | {read / 1e6:.2f} MB | {seconds:.2f} |")
    return "\n".join(lines)
