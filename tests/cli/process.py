"""Runs the real `puna` in a process: with pipes, or in a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import TracebackType

PUNA = [sys.executable, "-m", "puna"]
SECONDS = 120.0  # to wait for anything

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


def puna(*arguments: str, stdin: str | bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run to the end, with `stdin` piped in."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([*PUNA, *arguments], input=data, capture_output=True, timeout=SECONDS, check=False)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
    )


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches the process, and all that it starts


class Terminal:
    """`puna` in a pseudo-terminal of 100 columns: type, and wait for what it shows."""

    def __init__(self, *arguments: str, cwd: Path | None = None) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        environment = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self._process = subprocess.Popen(
            [*PUNA, *arguments], stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=environment,
            start_new_session=True, preexec_fn=_take_terminal,  # noqa: PLW1509 (it calls the kernel alone)
        )  # fmt: skip
        os.close(slave)
        self.shown = ""  # all of it, without escape sequences
        self._seen = 0  # where `expect` goes on

    def expect(self, text: str) -> str:
        """Wait for `text` after what was expected before; what was shown up to its end."""
        end = time.monotonic() + SECONDS
        while (found := self.shown.find(text, self._seen)) < 0:
            assert time.monotonic() < end, f"{text!r} was not shown; the last was {self.shown[-500:]!r}"
            assert self._read(), f"it ended without showing {text!r}: {self.shown[-500:]!r}"
        start, self._seen = self._seen, found + len(text)
        return self.shown[start : self._seen]

    def expect_more(self, characters: int) -> None:
        """Wait for so many characters after what was expected before."""
        while len(self.shown) < self._seen + characters:
            assert self._read(), f"it ended after {self.shown[-500:]!r}"

    def send(self, text: str) -> None:
        """Type."""
        os.write(self._master, text.encode())

    def ask(self, line: str) -> None:
        """Wait for the prompt, type a line and Enter, and wait for its echo."""
        self.expect(">>> ")
        self.send(line + "\r")

    def wait(self) -> int:
        """The exit status, once all has been read."""
        while self._read():
            pass
        return self._process.wait(SECONDS)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 1.0)
        if not ready:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self.shown += _ESCAPE.sub("", data.decode(errors="replace"))
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._master)
