"""`puna run`: one answer, or a chat in the terminal. Here are the options and what is read from a pipe; the model
runs in a process of its own, through `puna.runtime`; no server is needed."""

from __future__ import annotations

import select
import sys
from typing import IO, Annotated

import typer

from puna.errors import InvalidRequest

STDIN_NOTE_SECONDS = 2.0

Sampling = "Sampling"


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
    Ctrl-C stops an answer.
    """
    question = read_prompt(prompt or [])
    if question is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise typer.BadParameter("give a PROMPT, or pipe one in (a chat needs a terminal)", param_hint="PROMPT")

    from puna.cli.chat import chat
    from puna.cli.session import Session
    from puna.runtime import Options

    options = Options(
        context_length=context,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
    )
    with Session(model, options=options, system=system, threads=threads, verbose=verbose) as session:
        if question is None:
            chat(session)
        elif not session.ask(question):
            raise typer.Exit(130)


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
