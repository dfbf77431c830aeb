"""What the `tokenizers` library refuses, as our own error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from puna.errors import InvalidTokenizer, PunaError


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turns the library's errors into `InvalidTokenizer`, with `what` before the reason.

    It raises plain `Exception` for what it refuses, and a `PanicException`, which is no `Exception`, for what it has
    not foreseen.
    """
    try:
        yield
    except PunaError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise InvalidTokenizer(f"{what}: {error}") from error
        raise
