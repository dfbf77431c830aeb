"""The runner: a process that holds one model. `python -m puna.engine.runner MODEL --threads N ...`

Commands come in on stdin and messages go out on stdout, as `puna.engine.protocol` has them; the parent's side
is `puna.engine.process`. A thread reads commands, so that they are seen between any two steps. The runner
ends when its stdin does, as it does when the parent dies. It knows token ids only.
"""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

from puna import models
from puna.engine.engine import Engine
from puna.engine.loading import load_engine
from puna.engine.process import OnProgress
from puna.engine.protocol import (
    Cancel,
    Command,
    Embed,
    Loaded,
    LoadFailed,
    Message,
    Progress,
    ProtocolError,
    Submit,
    decode_command,
    encode,
)
from puna.errors import PunaError

GRACE_SECONDS = 2.0  # how long a step, the loading or the saving of prefixes may go on after the parent has gone
SAVE_SECONDS = 1.5  # of these, for saving prefixes

Load: TypeAlias = Callable[[OnProgress], Engine]


class Runner:
    """Feeds commands to an engine and its events to the parent."""

    def __init__(self, commands: BinaryIO, messages: BinaryIO) -> None:
        self._commands: queue.SimpleQueue[Command | ProtocolError | None] = queue.SimpleQueue()
        self._messages = messages
        threading.Thread(target=self._read, args=(commands,), name="commands", daemon=True).start()

    def run(self, load: Load) -> int:
        """Load, then serve until the parent closes the pipe. The exit status."""
        started = time.perf_counter()
        try:
            engine = load(lambda stage, done, total: self._send([Progress(stage, done, total)]))
        except PunaError as error:
            self._send([LoadFailed(type(error).__name__, str(error))])
            return 1
        seconds = time.perf_counter() - started
        model = engine.model
        self._send([Loaded(model.vocab_size, engine.context, model.num_blocks, seconds, model.warnings)])
        while self._obey(engine):
            self._send(engine.step())
        engine.close(SAVE_SECONDS)
        return 0

    def _obey(self, engine: Engine) -> bool:
        """Carry out all commands that have come, waiting for one if there is nothing else to do.

        False: it is over.
        """
        while not (engine.has_work and self._commands.empty()):
            match self._commands.get():
                case Submit(request) | Embed(request):
                    engine.add(request)
                case Cancel(request_id):
                    engine.cancel(request_id)
                case ProtocolError() as error:
                    raise error
                case None:
                    return False
        return True

    def _send(self, messages: Iterable[Message]) -> None:
        self._messages.write(b"".join(map(encode, messages)))
        self._messages.flush()

    def _read(self, commands: BinaryIO) -> None:
        """Queue the commands as they come, and None when the parent is gone. Runs in its own thread."""
        try:
            for line in commands:
                self._commands.put(decode_command(line))
        except ProtocolError as error:
            self._commands.put(error)
            return
        self._commands.put(None)
        time.sleep(GRACE_SECONDS)
        os._exit(0)  # the main thread is still computing for nobody


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the model named on the command line and serve it."""
    parser = argparse.ArgumentParser(prog="python -m puna.engine.runner", description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--max-sequences", type=int, required=True)
    parser.add_argument("--num-blocks", type=int)
    parser.add_argument("--kv-type", choices=models.KV_TYPES, default="f16")
    parser.add_argument("--prefix-cache", type=int, default=0)
    parser.add_argument("--draft", type=Path)
    parser.add_argument("--adapter", type=Path, action="append", default=[], dest="adapters")
    parser.add_argument("--projector", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    return serve(lambda progress: load_engine(**vars(options), progress=progress))


def serve(load: Load) -> int:
    """Serve the engine that `load` gives on this process's own stdin and stdout. The exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; the parent decides what it means
    commands, messages = _take_standard_streams()
    try:
        return Runner(commands, messages).run(load)
    except BrokenPipeError:
        return 0  # the parent is gone, and nobody is left to tell


def _take_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Our own stdin and stdout.

    What libraries print goes to stderr from now on, and what they read is empty.
    """
    commands = os.fdopen(os.dup(0), "rb")
    messages = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return commands, messages


if __name__ == "__main__":
    sys.exit(main())
