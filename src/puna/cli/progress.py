"""A progress bar on stderr for what takes long: compiling kernels the first time, loading weights.

In a terminal a bar that disappears; else one line per stage, and only once the wait has become long.
"""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

PATIENCE_SECONDS = 3.0


class Progress:
    """Shows a bar while it is entered; `update` may be called from any thread, at any time."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: RichProgress | None = None
        self._task = TaskID(0)
        self._stage = ""
        self._since = 0.0  # when the stage began

    def update(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` units of `stage` are ready."""
        if self._bar is not None:
            self._bar.update(self._task, description=stage, completed=done, total=total)
        elif stage != self._stage:
            self._stage, self._since = stage, time.monotonic()
        elif time.monotonic() - self._since > PATIENCE_SECONDS and done < total:
            self._since = math.inf  # told once
            typer.echo(f"({stage} ...)", err=True)

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self._bar = RichProgress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
