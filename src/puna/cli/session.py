"""One model and one conversation: ask, and the answer is printed as it comes.

Answers go to stdout; timings, progress and notes to stderr. Knows nothing of how a question is read.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from queue import SimpleQueue
from types import TracebackType

import typer

from puna import conversation
from puna.chat import Message
from puna.cli.output import human_seconds, terminal_safe
from puna.cli.progress import Progress
from puna.errors import PunaError
from puna.runtime import FOREVER, CacheReceipt, ChatRequest, Delta, Finished, Options, Prompt, Runtime, Usage
from puna.runtime.types import SinkEvent


class Session:
    """A conversation with a model, which runs in a process of its own until the session is closed."""

    def __init__(self, model: str, *, options: Options, system: str | None, threads: int | None, verbose: bool) -> None:
        self.model = model
        self.options = options
        self.verbose = verbose
        self.messages: list[Message] = [Message("system", system)] if system else []
        self._told: set[str] = set()
        self._progress = Progress(f"loading {model}")
        self._runtime = Runtime(keep_alive=FOREVER, num_parallel=1, threads=threads, on_progress=self._progress.update)

    @property
    def runtime(self) -> Runtime:
        """For what is only shown: the model's template, parameters and so on."""
        return self._runtime

    @property
    def system(self) -> str | None:
        """The system message, None if there is none of the user's own."""
        first = self.messages[:1]
        return first[0].content if first and first[0].role == "system" else None

    @system.setter
    def system(self, text: str | None) -> None:
        rest = self.messages[self.system is not None :]
        self.messages = [*([Message("system", text)] if text else []), *rest]

    def load(self) -> None:
        """Load the model now, so that the first answer does not wait for it."""
        with self._progress:
            self._runtime.load(self.model, context_length=self.options.context_length)

    def clear(self) -> None:
        """Forget the conversation, not the system message."""
        self.messages = self.messages[: self.system is not None]

    def ask(self, question: str) -> bool:
        """Print the answer and add both to the conversation; False if Ctrl-C stopped it.

        What came before a Ctrl-C stays in the conversation. After an error the conversation is as it was before.
        """
        messages = [*self.messages, Message("user", conversation.check_text(question, "the prompt"))]
        pieces: list[str] = []
        try:
            finished = self._answer(messages, pieces)
        except KeyboardInterrupt:
            finished = None
        finally:
            if pieces and not pieces[-1].endswith("\n"):
                typer.echo()
        if pieces or finished:
            self.messages = [*messages, Message("assistant", "".join(pieces))]
        if finished:
            self._report(finished)
        return finished is not None

    def _answer(self, messages: list[Message], pieces: list[str]) -> Finished:
        """Generate, print each piece as it comes and collect it in `pieces`; leaving early cancels."""
        events: SimpleQueue[SinkEvent] = SimpleQueue()
        with nullcontext() if self._runtime.ps() else self._progress:
            generation = self._runtime.start(ChatRequest(self.model, tuple(messages), self.options), events.put)
        try:
            self._tell(generation.prompt)
            return _print_answer(events, pieces)
        finally:
            generation.cancel()

    def _tell(self, prompt: Prompt) -> None:
        """What the model does not see, and, once, what else the runtime has to say."""
        context = prompt.context
        if context.dropped_messages:
            _note(
                f"the conversation outgrew the context of {context.limit} tokens: its oldest "
                f"{context.dropped_messages} messages ({context.dropped_tokens} tokens) are no longer seen"
            )
        for warning in prompt.warnings:
            if warning not in self._told:
                _note(warning)
        self._told.update(prompt.warnings)

    def _report(self, finished: Finished) -> None:
        if finished.reason == "length":
            _note(f"the answer was ended at its limit, after {finished.usage.completion_tokens} tokens")
        for warning in finished.usage.cache.warnings:
            _note(warning)
        if self.verbose:
            typer.echo(timings(finished.usage), err=True)

    def close(self) -> None:
        """End the model's process."""
        self._runtime.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _print_answer(events: SimpleQueue[SinkEvent], pieces: list[str]) -> Finished:
    """Print deltas as they come and collect them. Raises the PunaError of a generation that failed."""
    to_terminal = sys.stdout.isatty()
    while True:
        match events.get():
            case Delta(text):
                pieces.append(text)
                sys.stdout.write(terminal_safe(text) if to_terminal else text)
                sys.stdout.flush()
            case Finished() as finished:
                return finished
            case PunaError() as error:
                raise error


def _note(text: str) -> None:
    typer.echo(f"({text})", err=True)


def timings(usage: Usage) -> str:
    """The lines of `--verbose`, as Ollama prints them. The prompt's rate counts only tokens that were computed."""
    lines = [
        ("total duration", human_seconds(usage.total_seconds)),
        ("load duration", human_seconds(usage.load_seconds)),
        ("prompt eval count", f"{usage.prompt_tokens} token(s)"),
        ("prompt cache", _cached(usage.cache)),
        ("prompt eval duration", human_seconds(usage.prompt_seconds)),
        ("prompt eval rate", _rate(usage.prompt_tokens - usage.cache.cached_tokens, usage.prompt_seconds)),
        ("eval count", f"{usage.completion_tokens} token(s)"),
        ("eval duration", human_seconds(usage.decode_seconds)),
        ("eval rate", _rate(usage.completion_tokens, usage.decode_seconds)),
    ]
    return "\n".join(f"{name + ':':<22}{value}" for name, value in lines)


def _cached(receipt: CacheReceipt) -> str:
    from_disk = f", {receipt.disk_tokens} of them from disk" if receipt.disk_tokens else ""
    why = f" ({receipt.reason})" if receipt.reason else ""
    return f"{receipt.cached_tokens} token(s){from_disk}{why}"


def _rate(tokens: int, seconds: float) -> str:
    return f"{tokens / seconds:.2f} tokens/s" if seconds > 0 else "-"
