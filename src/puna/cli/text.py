"""`puna tokenize` and `puna render`: what a model sees. They read a model's metadata, never its weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from puna.errors import InvalidRequest

if TYPE_CHECKING:
    from puna.runtime import TextModel

Model = Annotated[str, typer.Argument(help="A name, or the path of a GGUF file or a Hugging Face folder.")]


def tokenize(
    model: Model,
    text: Annotated[str | None, typer.Argument(help="The text; standard input if it is missing.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help='Print {"tokens": [{"id": ..., "piece": ...}]}.')] = False,
    special: Annotated[
        bool, typer.Option(help="Put in the special tokens the model wants around a text (BOS, EOS).")
    ] = True,
    parse_special: Annotated[
        bool, typer.Option("--parse-special", help="Special tokens written in the text count as such.")
    ] = False,
) -> None:
    """Print a text's tokens: each id and its piece of text; a part of a character as bytes."""
    from puna import conversation

    if text is None:
        text = _decode(sys.stdin.buffer.read(), "standard input")
    conversation.check_text(text, "the text")
    tokenizer = _open(model).tokenizer
    ids = tokenizer.encode(text, add_special=special, parse_special=parse_special)
    pieces = [_piece(tokenizer.token_bytes(token)) for token in ids]
    if as_json:
        tokens = [
            {"id": token, "piece": piece if isinstance(piece, str) else list(piece)}
            for token, piece in zip(ids, pieces, strict=True)
        ]
        typer.echo(json.dumps({"tokens": tokens}, ensure_ascii=False))
    else:
        for token, piece in zip(ids, pieces, strict=True):
            typer.echo(f"{token:>8}  {piece!r}")


def render(
    model: Model,
    messages: Annotated[
        str, typer.Option("--messages", metavar="FILE", help="JSON list of messages; `-` is standard input.")
    ],
    generation_prompt: Annotated[bool, typer.Option(help="End with the opening of the assistant's answer.")] = True,
) -> None:
    """Print the exact prompt that a conversation becomes, special tokens and all, with no line end added."""
    from puna import conversation

    if messages == "-":
        parsed = conversation.loads(_decode(sys.stdin.buffer.read(), "standard input"), "standard input")
    else:
        parsed = conversation.load(Path(messages))
    typer.echo(_open(model).render(parsed, add_generation_prompt=generation_prompt), nl=False)


def _open(model: str) -> TextModel:
    from puna.runtime import TextModel
    from puna.store import Store

    return TextModel.open(Store().resolve(model))


def _piece(data: bytes) -> str | bytes:
    """A token's text, or its bytes where they are no whole characters (llama.cpp's form of a piece)."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _decode(data: bytes, origin: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{origin} is not UTF-8 at byte {error.start}") from None
