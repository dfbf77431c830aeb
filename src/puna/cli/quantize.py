"""`puna quantize` and `puna imatrix`: models with fewer bits, and what helps to choose which to lose."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from puna.cli.output import human_size
from puna.cli.progress import Progress
from puna.errors import InvalidRequest

if TYPE_CHECKING:
    from puna.gguf import ModelFile

Model = Annotated[str, typer.Argument(help="A name, or the path of a GGUF file or a Hugging Face folder.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads to compute with.")]


def quantize(
    model: Model,
    out: Annotated[Path, typer.Argument(help="The GGUF file to write.")],
    mix: Annotated[str, typer.Argument(metavar="TYPE", help="What to make of it, such as Q4_K_M, Q8_0 or F16.")],
    imatrix: Annotated[
        Path | None, typer.Option("--imatrix", metavar="FILE", help="An importance matrix: see `puna imatrix`.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Write a model with fewer bits. Its weights must be F32, F16, BF16 or Q8_0."""
    from puna.conversion.importance import read_importance
    from puna.conversion.mixes import mix_named
    from puna.conversion.quantizing import quantize_model

    chosen = mix_named(mix)
    importance = None if imatrix is None else read_importance(imatrix)
    with ExitStack() as stack:
        file = _open(model, stack, tokens=True)
        if out.exists() and out.samefile(file.path):
            raise InvalidRequest(f"{out} is the model itself: give another file to write")
        bar = stack.enter_context(Progress("quantising"))
        told = _stage(bar, f"quantising to {chosen.name}, megabytes", 1_000_000)
        quantize_model(file, out, chosen, importance=importance, threads=threads, progress=told, compiling=bar.update)
    typer.echo(f"{out}: {chosen.name}, {human_size(out.stat().st_size)}")


def imatrix(
    model: Model,
    text: Annotated[Path, typer.Argument(help="A text file in UTF-8, such as the model will meet.")],
    out: Annotated[Path, typer.Argument(help="The GGUF file to write.")],
    chunks: Annotated[int | None, typer.Option(min=1, help="Read so many times 512 tokens at most.")] = None,
    threads: Threads = None,
) -> None:
    """Measure what a model's weights are multiplied with in a text: `puna quantize --imatrix` rounds by it."""
    from puna.conversion.importance import measure_importance

    try:
        words = text.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{text}: cannot be read as UTF-8 text: {error}") from None
    with ExitStack() as stack:
        file = _open(model, stack, tokens=False)
        bar = stack.enter_context(Progress("measuring"))
        measured = measure_importance(
            file, words, dataset=text.name, chunks=chunks, threads=threads,
            progress=_stage(bar, "reading the text, chunks", 1), compiling=bar.update,
        )  # fmt: skip
    measured.save(out)
    typer.echo(f"{out}: {measured.chunks} chunks of {measured.chunk_size} tokens, {len(measured.entries)} tensors")


def _open(model: str, stack: ExitStack, *, tokens: bool) -> ModelFile:
    """The model's file, or its folder: with its tokens as a GGUF has them, or as it is."""
    from puna.conversion import open_import
    from puna.gguf import open_model
    from puna.store import Store

    path = Store().resolve(model).path
    if not (tokens and path.is_dir()):
        return stack.enter_context(open_model(path))
    opened = stack.enter_context(open_import(path))
    for warning in opened.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    return opened.file


def _stage(bar: Progress, name: str, unit: int) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        bar.update(name, done // unit, -(-total // unit))

    return tell
