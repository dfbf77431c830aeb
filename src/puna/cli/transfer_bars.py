"""How far pulls and pushes are: in a terminal a bar for each blob, with speed and time left; else lines."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from puna.cli.output import human_size
from puna.store.progress import Progress as Step

LINE_SECONDS = 10.0  # between two lines about one blob, where there is no terminal


class TransferBars:
    """Shows the progress of one transfer on stderr. A context manager; `tell` may be called from any thread."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._told: set[str] = set()
        self._next_line = 0.0

    def tell(self, step: Step) -> None:
        """Show one step."""
        if step.warning is not None:
            self._line(f"(warning: {step.warning})")
        if step.total is not None and self._bars is not None:
            self._show(self._bars, step, step.completed or 0)
        elif step.total is not None:
            self._count(step, step.completed or 0)
        elif step.status not in self._told:
            self._told.add(step.status)
            self._line(step.status)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(compact=True),
                console=Console(stderr=True),
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _show(self, bars: Progress, step: Step, completed: int) -> None:
        task = self._tasks.get(step.status)
        if task is None:  # what was there before counts for no speed
            self._tasks[step.status] = bars.add_task(step.status, total=step.total, completed=completed)
        else:
            bars.update(task, completed=completed, total=step.total)

    def _count(self, step: Step, completed: int) -> None:
        """Without a terminal: when a blob begins, now and then, and when it is there."""
        total, now = step.total or 0, time.monotonic()
        ended = completed >= total
        if (ended and f"{step.status} ended" not in self._told) or (not ended and now >= self._next_line):
            self._told |= {f"{step.status} ended"} if ended else set()
            self._next_line = now + LINE_SECONDS
            self._line(f"{step.status}: {human_size(completed)} of {human_size(total)}")

    def _line(self, text: str) -> None:
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            typer.echo(text, err=True)
