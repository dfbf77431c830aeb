"""`puna run`: one answer, or a chat in the terminal. Here are the options and what is read from a pipe; the model
runs in a process of its own, through `puna.runtime`; no server is needed."""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from puna.errors import InvalidRequest

if TYPE_CHECKING:
    from puna.runtime import Grammar

STDIN_NOTE_SECONDS = 2.0

Sampling = "Sampling"


class RunCommand(TyperCommand):
    """`--think` may stand alone, which is `--think=true`: what comes after it is the model."""

    def parse_args(self, ctx: Any, args: Sequence[str]) -> list[str]:
        """As ever, but for that."""
        end = list(args).index("--") if "--" in args else len(args)
        options = ["--think=true" if each == "--think" else each for each in args[:end]]
        return super().parse_args(ctx, [*options, *args[end:]])


def run(
    model: Annotated[str, typer.Argument(help="A name, or the path of a GGUF file or a Hugging Face folder.")],
    prompt: Annotated[
        list[str] | None, typer.Argument(help="What to ask; without it, a chat. Piped text is put before it.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="End the answer after this many tokens.")] = None,
    context: Annotated[int | None, typer.Option(min=4, help="Tokens of prompt and answer together.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to compute with.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print timings after each answer.")] = False,
    think: Annotated[
        str | None,
        typer.Option(metavar="[true|false|low|medium|high|max]", help="Think before answering, or not; alone: true."),
    ] = None,
    hide_thinking: Annotated[bool, typer.Option("--hidethinking", help="Do not print what the model thinks.")] = False,
    form: Annotated[
        str | None, typer.Option("--format", metavar="json|SCHEMA", help="Answer in JSON, or JSON of a schema.")
    ] = None,
    no_wordwrap: Annotated[
        bool, typer.Option("--nowordwrap", help="Let the terminal break lines, not at words.")
    ] = False,
    keep_alive: Annotated[
        str | None, typer.Option("--keepalive", help="No effect: the model ends with this command; see serve.")
    ] = None,
    no_pull: Annotated[
        bool, typer.Option("--no-pull", help="Do not pull the model where it is not on this machine.")
    ] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow a registry without TLS.")] = False,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="0: always the likeliest token.", rich_help_panel=Sampling)
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Only the k likeliest tokens.", rich_help_panel=Sampling)] = None,
    top_p: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Only the likeliest tokens up to this sum.", rich_help_panel=Sampling),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Only tokens this near the likeliest.", rich_help_panel=Sampling),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed, the same answer.", rich_help_panel=Sampling)] = None,
) -> None:
    """Ask a model, or chat with it.

    With a PROMPT or piped text it prints the answer and ends; in a terminal without a PROMPT it is a chat.
    Ctrl-C stops an answer. A model that is not on this machine is pulled first. A model that only makes embeddings
    prints the text's vector, as JSON.
    """
    question = read_prompt(prompt or [])
    if question is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise typer.BadParameter("give a PROMPT, or pipe one in (a chat needs a terminal)", param_hint="PROMPT")

    from puna.cli.chat import chat
    from puna.cli.session import Session
    from puna.cli.transfer import bring_if_missing
    from puna.runtime import Options
    from puna.runtime.parameters import parse_think

    if not no_pull:
        bring_if_missing(model, insecure=insecure)
    if _only_embeds(model):
        typer.echo(_vector(model, question, context=context, threads=threads))
        return
    if keep_alive is not None:
        typer.echo("(--keepalive has no effect: the model ends with this command; `puna serve` keeps models)", err=True)
    options = Options(
        context_length=context,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
        grammar=_grammar(form),
    )
    with Session(
        model,
        options=options,
        system=system,
        threads=threads,
        verbose=verbose,
        think=None if think is None else parse_think(think),
        show_thoughts=not hide_thinking,
        wordwrap=not no_wordwrap,
    ) as session:
        if question is None:
            chat(session)
        elif not session.ask(question):
            raise typer.Exit(130)


def _only_embeds(model: str) -> bool:
    from puna.store import Store

    return Store().resolve(model).details.capabilities == ("embedding",)


def _vector(model: str, text: str | None, *, context: int | None, threads: int | None) -> str:
    """As JSON. Raises InvalidRequest where there is no text."""
    from puna.runtime import EmbedRequest, Runtime

    if text is None:
        raise InvalidRequest(f"{model} only makes embeddings: give a PROMPT, there can be no chat")
    with Runtime(threads=threads) as runtime:
        made = runtime.embed(EmbedRequest(model, (text,), context_length=context))
    for warning in made.warnings:
        typer.echo(f"({warning})", err=True)
    if made.truncated:
        typer.echo(f"(the text was cut to its first {made.prompt_tokens[0]} tokens)", err=True)
    return json.dumps(made.vectors[0].tolist())


def _grammar(form: str | None) -> Grammar | None:
    """What `--format` holds the answers to. Raises InvalidRequest."""
    from puna.runtime.parameters import parse_format

    try:
        schema = json.loads(form) if form and form.lstrip().startswith("{") else form
    except ValueError as error:
        raise InvalidRequest(f"--format: the JSON schema is not valid: {error}") from None
    return parse_format(schema)


def read_prompt(words: list[str]) -> str | None:
    """The question: piped text first, the command line's words after it; None if there is neither.

    Raises InvalidRequest for text that is not UTF-8.
    """
    parts = [_read_pipe(sys.stdin.buffer, told=bool(words))] if sys.stdin and not sys.stdin.isatty() else []
    parts.append(" ".join(words))
    return "\n".join(part for part in parts if part.strip()) or None


def _read_pipe(pipe: IO[bytes], *, told: bool) -> str:
    """All of standard input. A pipe that nobody writes to would block in silence: after a while, say so."""
    if told and sys.platform != "win32" and not select.select([pipe], [], [], STDIN_NOTE_SECONDS)[0]:
        typer.echo("(waiting for the end of standard input; `< /dev/null` if there is none)", err=True)
    try:
        return pipe.read().decode().rstrip("\n")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"standard input is not UTF-8 at byte {error.start}") from None
