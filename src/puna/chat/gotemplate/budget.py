"""What one render of a hostile template may use: steps, bytes, depth and processor time."""

from __future__ import annotations

import time

from puna.chat.gotemplate.lexer import error

MAX_BYTES = 32 << 20
"""Bytes that a render may make in all, kept or thrown away."""

BYTES_PER_GIVEN_BYTE = 512
"""Further bytes for each byte of the messages: some templates look through all of them for each."""

MAX_SECONDS = 2.0
"""Processor seconds of the rendering thread. Real templates take milliseconds."""

MAX_DEPTH = 60
"""Levels of blocks, templates and parentheses inside each other; real templates have ten."""

STEP = 128
"""Bytes that each step costs."""

_CHECKED_EVERY = 64  # steps between two looks at the clock


class Budget:
    """The budget of one render whose data take `given` bytes."""

    __slots__ = ("_bytes", "_deadline", "_left", "_steps", "depth", "line")

    def __init__(self, given: int = 0) -> None:
        self._bytes = self._left = MAX_BYTES + BYTES_PER_GIVEN_BYTE * given
        self._deadline = time.thread_time() + MAX_SECONDS
        self.depth = self._steps = 0
        self.line = 0  # where the template is

    def spend(self, size: int) -> None:
        """Pays for a step that makes `size` bytes, or raises TemplateError."""
        self._left -= size + STEP
        self._steps += 1
        if self._left < 0:
            raise error(self.line, f"stopped: it asked for more than {self._bytes >> 20} MiB of text and steps")
        if (size > 1000 or self._steps % _CHECKED_EVERY == 0) and time.thread_time() > self._deadline:
            raise error(self.line, f"stopped: it took more than {MAX_SECONDS:g} s")

    def enter(self) -> None:
        """One level deeper."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise error(self.line, f"stopped: more than {MAX_DEPTH} blocks and templates inside each other")

    def leave(self) -> None:
        """One level up."""
        self.depth -= 1
