"""What a rendering chat template may still use: a budget of bytes and of processor time.

Every operation of a template is paid for before it runs (see `puna.chat.sandbox`). Knows nothing of Jinja's
syntax; it measures values.
"""

from __future__ import annotations

import time
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView

import jinja2
from jinja2.utils import Namespace

MAX_BYTES = 256 << 20
"""Bytes that a render may produce in all, kept or thrown away."""

BYTES_PER_GIVEN_BYTE = 512
"""Further bytes for each byte of the messages: some templates add each message to a copy of all before it."""

MAX_SECONDS = 10.0
"""Processor seconds of the rendering thread. Real templates take milliseconds."""

MAX_INT_BITS = 4096
"""Integers a template may multiply its way to."""

MAX_PARTS = 200_000
"""Values inside a value that is printed or compared; a chat of a thousand messages has some ten thousand."""

CONTAINERS = (list, tuple, dict, KeysView, ValuesView, ItemsView, Namespace)


class LimitExceeded(Exception):
    """The template asked for more than its budget; the message says of what."""


class Meter:
    """The budget of one render whose variables take `given` bytes."""

    __slots__ = ("_bytes", "_bytes_left", "_deadline")

    def __init__(self, given: int = 0) -> None:
        self._bytes = self._bytes_left = MAX_BYTES + BYTES_PER_GIVEN_BYTE * given
        self._deadline = time.thread_time() + MAX_SECONDS

    def spend(self, size: int) -> None:
        """Pays for `size` bytes, or raises `LimitExceeded`."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise LimitExceeded(f"it asked for more than {self._bytes >> 20} MiB of text and lists")
        if time.thread_time() > self._deadline:
            raise LimitExceeded(f"it took more than {MAX_SECONDS:g} s")

    def deep_size(self, value: object) -> int:
        """About how many bytes the value takes when printed or compared, counting shared parts each time they occur.

        A list of lists of the same list can print exponentially: the walk ends, with `LimitExceeded`, at MAX_PARTS,
        and what would take more bytes than are left is refused.
        """
        if not isinstance(value, CONTAINERS):
            return flat_size(value)
        size = 0
        for count, part in enumerate(parts(value)):
            size += flat_size(part)
            if count > MAX_PARTS:
                raise LimitExceeded(f"it prints or compares a value of more than {MAX_PARTS} parts")
        if size > self._bytes_left:
            self.spend(size)
        return size


def parts(value: object) -> Iterator[object]:
    """The value and everything inside it, shared parts each time they occur; without end for what holds itself."""
    pending: list[Iterator[object]] = [iter((value,))]
    while pending:
        for part in pending[-1]:
            yield part
            if isinstance(part, Mapping):
                pending += [iter(part.keys()), iter(part.values())]
            elif isinstance(part, Namespace):
                pending.append(iter(attributes(part).values()))
            elif isinstance(part, CONTAINERS):
                pending.append(iter(part))
            else:
                continue
            break
        else:
            pending.pop()


def flat_size(value: object) -> int:
    """About how many bytes the value takes, its items not counted: text, a big integer, or a container's slots."""
    if isinstance(value, str):
        return 64 + (len(value) if value.isascii() else 4 * len(value))
    if isinstance(value, int):
        return 32 + value.bit_length() // 3  # decimal digits: log10(2) < 1/3
    if isinstance(value, Mapping):
        return 64 + 100 * len(value)
    if isinstance(value, (list, tuple, KeysView, ValuesView, ItemsView)):
        return 64 + 8 * len(value)
    return 0 if isinstance(value, jinja2.Undefined) else 64


def attributes(namespace: Namespace) -> dict[str, object]:
    """What a template stored in its `namespace()`; Jinja keeps it under a private name."""
    stored = object.__getattribute__(namespace, "_Namespace__attrs")
    assert isinstance(stored, dict)
    return stored
