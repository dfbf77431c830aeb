"""One model and one conversation: ask, and the answer is printed as it comes.

Answers go to stdout; timings, progress and notes to stderr. Knows nothing of how a question is read.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType

import typer

from puna import conversation
from puna.chat import Message, Think
from puna.cli.output import human_seconds, terminal_safe
from puna.cli.progress import Progress
from puna.cli.wrapping import WordWrap
from puna.errors import PunaError
from puna.runtime import FOREVER, CacheReceipt, ChatRequest, Delta, Finished, Options, Prompt, Runtime, Usage
from puna.runtime.parameters import to_parameters
from puna.runtime.types import SinkEvent
from puna.store import LocalModel


class Session:
    """A conversation with a model, which runs in a process of its own until the session is closed."""

    def __init__(
        self,
        model: str,
        *,
        options: Options,
        system: str | None = None,
        threads: int | None = None,
        verbose: bool = False,
        think: Think | None = None,
        show_thoughts: bool = True,
        wordwrap: bool = True,
    ) -> None:
        """wordwrap: answers on a terminal are wrapped at words."""
        self.model = model
        self.options = options
        self.verbose = verbose
        self.think = think
        self.show_thoughts = show_thoughts
        self.wordwrap = wordwrap
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

    def switch(self, model: str) -> None:
        """Chat with another model, from the beginning and with its own parameters. An error changes nothing."""
        with self._progress:
            self._runtime.load(model)
        self.model, self.options, self.messages = model, Options(), []

    def as_model(self) -> LocalModel:
        """The model with what this session adds to it: the system message, the parameters and the conversation."""
        local = self._runtime.store.resolve(self.model)
        said = tuple(message for message in self.messages if message.role != "system")
        return replace(
            local,
            system=self.system or local.system,
            parameters={**(local.parameters or {}), **to_parameters(self.options)},
            messages=local.messages + said,
        )

    def save_model(self, name: str) -> None:
        """Keep `as_model` in the store under a name; a file that is chatted with stays where it is.

        Raises a PunaError where that cannot be done.
        """
        from puna.store.components import Components
        from puna.store.create import create
        from puna.store.create_request import CreateRequest

        made = self.as_model()
        at_path = made.name == str(made.path)
        files = Components(folder=made.path) if made.path.is_dir() else Components(files=(made.path,))
        request = CreateRequest(
            name,
            from_="" if at_path else made.name,
            components=files if at_path else None,
            reference=True,
            system=self.system or "",
            parameters=to_parameters(self.options),
            messages=[{"role": message.role, "content": message.content} for message in made.messages],
        )
        create(self._runtime.store, request)

    def clear(self) -> None:
        """Forget the conversation, not the system message."""
        self.messages = self.messages[: self.system is not None]

    def ask(self, question: str) -> bool:
        """Print the answer and add both to the conversation; False if Ctrl-C stopped it.

        What came before a Ctrl-C stays in the conversation. After an error the conversation is as it was before.
        """
        messages = [*self.messages, Message("user", conversation.check_text(question, "the prompt"))]
        printed = _Printed(show_thoughts=self.show_thoughts, wordwrap=self.wordwrap)
        try:
            finished = self._answer(messages, printed)
        except KeyboardInterrupt:
            finished = None
        finally:
            printed.end()
        if printed.pieces or finished:
            self.messages = [*messages, Message("assistant", "".join(printed.pieces))]
        if finished:
            self._report(finished)
        return finished is not None

    def _answer(self, messages: list[Message], printed: _Printed) -> Finished:
        """Generate and print each piece as it comes; leaving early cancels."""
        events: SimpleQueue[SinkEvent] = SimpleQueue()
        with nullcontext() if self._runtime.ps() else self._progress:
            generation = self._runtime.start(
                ChatRequest(self.model, tuple(messages), self.options, think=self.think), events.put
            )
        try:
            self._tell(generation.prompt)
            return printed.read(events)
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


class _Printed:
    """An answer on the terminal: its text on stdout, its thoughts before that, dim, on stderr."""

    def __init__(self, *, show_thoughts: bool, wordwrap: bool) -> None:
        self.pieces: list[str] = []  # of the text
        self._thinking = False  # whether the last thing printed is a thought
        self._show_thoughts = show_thoughts
        self._to_terminal = sys.stdout.isatty()
        columns = shutil.get_terminal_size().columns
        self._text_wrap = WordWrap(columns) if wordwrap and self._to_terminal else None
        self._thought_wrap = WordWrap(columns) if wordwrap and sys.stderr.isatty() else None

    def read(self, events: SimpleQueue[SinkEvent]) -> Finished:
        """Print deltas as they come. Raises the PunaError of a generation that failed."""
        while True:
            match events.get():
                case Delta() as delta:
                    self._print(delta)
                case Finished() as finished:
                    return finished
                case PunaError() as error:
                    raise error

    def _print(self, delta: Delta) -> None:
        if delta.thinking and self._show_thoughts:
            self._thinking = True
            typer.secho(_wrapped(self._thought_wrap, terminal_safe(delta.thinking)), dim=True, err=True, nl=False)
        if delta.text:
            self._end_thought()
            self.pieces.append(delta.text)
            shown = terminal_safe(delta.text) if self._to_terminal else delta.text
            sys.stdout.write(_wrapped(self._text_wrap, shown))
            sys.stdout.flush()

    def _end_thought(self) -> None:
        if self._thinking:
            self._thinking = False
            typer.echo("\n", err=True)

    def end(self) -> None:
        """The last line is ended."""
        self._end_thought()
        if self.pieces and not self.pieces[-1].endswith("\n"):
            typer.echo()


def _wrapped(wrap: WordWrap | None, text: str) -> str:
    return text if wrap is None else wrap.push(text)


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
