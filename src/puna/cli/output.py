"""How verbs print: aligned columns, sizes, ages, and text that a terminal may show.

Results go to stdout, everything else to stderr. Knows nothing of what is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

FOREVER = timedelta(days=36500)  # a server writes "never" as a date centuries away, as Ollama's does


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as Ollama prints them: left-aligned, four blanks apart, no lines, no colours."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "    ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def human_size(size: int) -> str:
    """Bytes as `3.1 MB`: decimal units, three digits."""
    value = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def human_age(moment: datetime, now: datetime) -> str:
    """`3 days ago`, or `4 minutes from now`, or `Forever`."""
    distance = now - moment
    if -distance > FOREVER:
        return "Forever"
    suffix = "ago" if distance >= timedelta() else "from now"
    seconds = abs(distance).total_seconds()
    for unit, length in (("year", 31536000), ("month", 2592000), ("week", 604800), ("day", 86400),
                         ("hour", 3600), ("minute", 60), ("second", 1)):  # fmt: skip
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} {suffix}"
    return "Just now"


def human_seconds(seconds: float) -> str:
    """`1.24s`, `310.52ms`."""
    return f"{seconds:.2f}s" if seconds >= 1 else f"{seconds * 1000:.2f}ms"


def terminal_safe(text: str) -> str:
    """The text with control characters shown, not obeyed: a model must not be able to drive the terminal.

    Line ends and tabs stay; C0 becomes Unicode's control pictures (U+2400 on), DEL and C1 the replacement mark.
    """
    return text.translate(_CONTROLS)


_CONTROLS: dict[int, str] = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_CONTROLS |= dict.fromkeys(range(0x7F, 0xA0), "\N{REPLACEMENT CHARACTER}")
