"""RunnerProcess: the parent's side of a runner, the process that holds one model and computes.

Starts it, sends it requests, and hands each event to the sink of its request. When the process dies, however
it dies, every open request gets an ErrorEvent. Knows neither how a model is loaded nor what a token means.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TypeAlias

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
    decode_message,
    encode,
)
from puna.engine.types import (
    EmbeddingRequest,
    ErrorEvent,
    Event,
    GenerationRequest,
    TokenEvent,
    error_of_type,
)
from puna.errors import InvalidRequest, RunnerDied

Sink: TypeAlias = Callable[[Event], None]
OnProgress: TypeAlias = Callable[[str, int, int], None]

CLOSE_SECONDS = 5.0  # how long close() waits before each harder means: end of input, SIGTERM, SIGKILL
STDERR_LINES = 40  # of the runner's last words kept for the message of its death

logger = logging.getLogger(__name__)


class RunnerProcess:
    """A running runner.

    Its methods may be called from any thread; sinks are called from one, and must be quick.
    """

    def __init__(self, command: Sequence[str], *, on_progress: OnProgress | None = None) -> None:
        """Run `command`, which must speak `puna.engine.protocol`, and wait for its model. See `start`."""
        self._lock = threading.Lock()  # guards _sinks and _ended
        self._write_lock = threading.Lock()
        self._sinks: dict[str, Sink] = {}
        self._ended = False
        self._closing = False
        self._failure: str | None = None  # what we ended it for
        self._stderr_tail: deque[str] = deque(maxlen=STDERR_LINES)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._stderr_thread = threading.Thread(target=self._read_stderr, name="runner-stderr", daemon=True)
        self._stderr_thread.start()
        self._event_thread = threading.Thread(target=self._read_events, name="runner-events", daemon=True)
        try:
            self.loaded = self._wait_until_loaded(on_progress)
        except BaseException:  # Ctrl-C while loading, too, must not leave a process behind
            self.close()
            raise
        self._event_thread.start()

    @classmethod
    def start(
        cls,
        path: Path,
        *,
        threads: int,
        context: int,
        max_sequences: int,
        num_blocks: int | None = None,
        kv_type: str = "f16",
        prefix_cache: int = 0,
        draft: Path | None = None,
        adapters: Sequence[Path] = (),
        projector: Path | None = None,
        check: bool = False,
        on_progress: OnProgress | None = None,
    ) -> RunnerProcess:
        """Load the model at `path` (a GGUF file or a Hugging Face folder) in its own process; wait for it.

        context        tokens of one sequence, prompt and answer together, for which there must be room at least;
                       `loaded.context` says for how many there is
        max_sequences  decoded at once; more requests wait
        num_blocks     KV blocks shared by all sequences, for exactly that context; None = as memory allows
        kv_type        of the KV cache: f16, q8_0 or f32
        prefix_cache   bytes of disk for the prefix cache of all models together; 0 = none
        draft          a small model of the same vocabulary that proposes tokens
        adapters       LoRA, of which a request may choose one by its path
        projector      an image encoder for the model
        check          check the scheduler's books after each step, and end if they do not balance
        on_progress    called with (stage, done, total) while kernels compile and weights load

        Raises the PunaError the runner met (InvalidGGUF, UnsupportedModel, ...), or RunnerDied if it just
        ended.
        """
        command = [sys.executable, "-m", "puna.engine.runner", str(path)]
        command += [f"--threads={threads}", f"--context={context}", f"--max-sequences={max_sequences}"]
        command += [f"--kv-type={kv_type}", f"--prefix-cache={prefix_cache}"]
        if num_blocks is not None:
            command.append(f"--num-blocks={num_blocks}")
        if draft is not None:
            command.append(f"--draft={draft}")
        command += [f"--adapter={adapter}" for adapter in adapters]
        if projector is not None:
            command.append(f"--projector={projector}")
        if check:
            command.append("--check")
        return cls(command, on_progress=on_progress)

    @property
    def pid(self) -> int:
        """Process id of the runner."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether requests can still be submitted."""
        return not self._ended and not self._closing and self._process.poll() is None

    def submit(self, request: GenerationRequest | EmbeddingRequest, sink: Sink) -> None:
        """Start a request. Its events go to `sink`; all but TokenEvents are a request's last one.

        Raises RunnerDied when the runner has ended, InvalidRequest when a request of that id is still open.
        """
        with self._lock:
            if self._ended or self._closing:
                raise RunnerDied(self._last_words())
            if request.id in self._sinks:
                raise InvalidRequest(f"a request with the id {request.id!r} is still open")
            self._sinks[request.id] = sink
        self._send(Submit(request) if isinstance(request, GenerationRequest) else Embed(request))

    def cancel(self, request_id: str) -> None:
        """Stop a request within a step; its sink gets a FinishedEvent 'cancelled', unless it ended before."""
        with self._lock:
            is_open = request_id in self._sinks
        if is_open:
            self._send(Cancel(request_id))

    def close(self) -> None:
        """End the runner, in at most a few CLOSE_SECONDS.

        Open requests get an ErrorEvent. May be called twice.
        """
        self._closing = True
        if self._write_lock.acquire(timeout=CLOSE_SECONDS):  # else: another thread's write is stuck
            self._close_stdin()
            self._write_lock.release()
        for harder in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(CLOSE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                harder()
        self._process.wait()
        self._close_stdin()
        self._join()

    def __enter__(self) -> RunnerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _close_stdin(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died; what was still buffered is lost with it
            _pipe(self._process.stdin).close()

    def _join(self) -> None:
        """Wait for the reading threads and close their pipes."""
        for thread, pipe in (
            (self._event_thread, self._process.stdout),
            (self._stderr_thread, self._process.stderr),
        ):
            if thread is threading.current_thread():
                continue  # a sink called close(), and no thread can wait for itself
            if thread.is_alive():
                thread.join(CLOSE_SECONDS)
            _pipe(pipe).close()

    def _send(self, command: Command) -> None:
        with self._write_lock:
            try:
                pipe = _pipe(self._process.stdin)
                pipe.write(encode(command))
                pipe.flush()
            except (BrokenPipeError, ValueError):
                pass  # dead or closed: the event thread tells every open sink

    def _wait_until_loaded(self, on_progress: OnProgress | None) -> Loaded:
        """Raises the error the runner met, or RunnerDied."""
        try:
            while line := _pipe(self._process.stdout).readline():
                match decode_message(line):
                    case Progress(stage, done, total):
                        if on_progress is not None:
                            on_progress(stage, done, total)
                    case LoadFailed(kind, message):
                        raise error_of_type(kind, message)
                    case Loaded() as loaded:
                        return loaded
                    case other:
                        raise ProtocolError(f"{other} before it was loaded")
        except ProtocolError as error:
            raise RunnerDied(f"the runner does not speak the protocol: {error}") from error
        self._bury()
        raise RunnerDied(self._last_words())

    def _read_events(self) -> None:
        """Hand out events until the pipe ends; then tell every request still open. Runs in its own thread."""
        try:
            for line in _pipe(self._process.stdout):
                self._dispatch(decode_message(line))
        except ProtocolError as error:
            self._failure = f"was ended because it does not speak the protocol: {error}"
            self._process.kill()
        finally:
            self._bury()

    def _dispatch(self, message: Message) -> None:
        if isinstance(message, Progress | Loaded | LoadFailed):
            raise ProtocolError(f"{message} after it was loaded")
        with self._lock:
            sink = self._sinks.get(message.id)
            if not isinstance(message, TokenEvent):
                self._sinks.pop(message.id, None)
        if sink is None:
            raise ProtocolError(f"{message} for a request that is not open")
        self._call(sink, message)

    def _bury(self) -> None:
        """Wait for the end of a process that says no more, and tell every request still open."""
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr_thread.join(CLOSE_SECONDS)
        with self._lock:
            self._ended = True
            open_sinks, self._sinks = self._sinks, {}
        for request_id, sink in open_sinks.items():
            self._call(sink, ErrorEvent(request_id, self._last_words(), RunnerDied.__name__))

    def _call(self, sink: Sink, event: Event) -> None:
        try:
            sink(event)
        except Exception:  # one broken consumer must not stop the events of all others
            logger.exception("the sink of request %s failed; the request is cancelled", event.id)
            with self._lock:
                if event.id in self._sinks:  # keep the id taken until the runner has let go of it
                    self._sinks[event.id] = _ignore
            self.cancel(event.id)

    def _read_stderr(self) -> None:
        for line in _pipe(self._process.stderr):
            text = line.decode(errors="replace").rstrip()
            self._stderr_tail.append(text)
            logger.debug("runner %d: %s", self.pid, text)

    def _last_words(self) -> str:
        """Why no more answers come, for a message."""
        if self._closing:
            return "the runner was closed before the request was finished"
        how = self._failure or _how_it_ended(self._process.poll())
        words = "\n".join(self._stderr_tail)
        return f"the runner process (pid {self.pid}) {how}" + (f"; its last words:\n{words}" if words else "")


def _how_it_ended(returncode: int | None) -> str:
    if returncode is None:
        return "stopped answering"
    if returncode >= 0:
        return f"ended with status {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    hint = " (out of memory, perhaps)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def _ignore(event: Event) -> None:
    """The sink of a request whose own sink failed."""


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None, "every stream of the runner is a pipe"
    return pipe
