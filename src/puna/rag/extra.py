"""The packages of the extra `rag`: what to say where they are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from puna.errors import MissingPackage


@contextmanager
def needs_extra() -> Iterator[None]:
    """An import that fails inside becomes a MissingPackage that says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"documents need the package {error.name!r}, which is not installed: pip install 'puna[rag]'"
        ) from error
