"""How long operations on the store tell what they do. Knows nothing of terminals and wires."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from puna.errors import Cancelled


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of an operation, or how far it is."""

    status: str  # Ollama's words: "pulling manifest", "writing manifest", ...
    digest: str | None = None  # 64 hex digits of the blob it is about
    total: int | None = None  # bytes
    completed: int | None = None  # bytes
    source: str | None = None  # where the bytes come from, or go to
    warning: str | None = None  # what was asked for and is not done


Report: TypeAlias = Callable[[Progress], None]  # from any thread; must not block


def ignore(_: Progress) -> None:
    """Report to nobody."""


def check(cancelled: threading.Event | None) -> None:
    """Raises Cancelled once the event is set."""
    if cancelled is not None and cancelled.is_set():
        raise Cancelled("the operation was cancelled")
