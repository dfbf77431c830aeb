"""A contestant's process, from the parent's side: start it, ask it, end it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parent.parent
STOP_SECONDS = 10.0


class ContestantError(Exception):
    """A contestant could not start, or could not do what it was asked: the message says why."""


class Contestant:
    """`python -m bench.contestants.MODULE ARGUMENTS`, with `python` of any environment that has the engine."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; whether it can import its engine shows with the first `ask`. Raises ContestantError."""
        self.module = module
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **(environment or {})}
        self._errors = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would fill up  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [python, "-m", f"bench.contestants.{module}", *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=variables,
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            raise ContestantError(f"{module}: {python} cannot be started: {error}") from error

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Call one of its methods. Raises ContestantError with what it says of its failure."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._died() from None
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ContestantError(f"{self.module}: {reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result

    def close(self) -> None:
        """End it."""
        try:
            self._process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.close()

    def _died(self) -> ContestantError:
        self._process.communicate()
        self._errors.seek(0)
        last = self._errors.read().strip().splitlines()[-1:] or [f"it ended with {self._process.returncode}"]
        return ContestantError(f"{self.module}: {last[0]}")

    def __enter__(self) -> Contestant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
