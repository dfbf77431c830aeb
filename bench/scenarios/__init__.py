"""The scenarios: each measures one model file and gives a Result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.results import Result
from bench.scenarios.engine import copying, sampling
from bench.scenarios.forward import avx2, long, speed
from bench.scenarios.loading import loading
from bench.scenarios.server import server
from bench.scenarios.serving import chat, clients
from bench.session import Options

__all__ = ["SCENARIOS", "avx2", "chat", "clients", "copying", "loading", "long", "sampling", "server", "speed"]

SCENARIOS: dict[str, Callable[[Path, Options], Result]] = {
    "speed": speed,
    "long": long,
    "avx2": avx2,
    "clients": clients,
    "chat": chat,
    "server": server,
    "copying": copying,
    "loading": loading,
    "sampling": sampling,
}
