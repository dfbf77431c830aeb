"""`puna create`: a model made of a Modelfile, in the store on this machine.

It opens the files that the Modelfile names and works on the store itself; no server is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from puna.errors import InvalidRequest

if TYPE_CHECKING:
    from puna.store.create_request import CreateRequest

DEFAULT_FILE = "Modelfile"
STANDARD_INPUT = "-"


def create(
    model: Annotated[str, typer.Argument(help="The new model's name.")],
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="The Modelfile; `-` is standard input. (Modelfile, else FROM this folder)"),
    ] = None,
    quantize: Annotated[
        str, typer.Option("--quantize", "-q", help="Quantise the weights to this type, such as Q4_K_M.")
    ] = "",
    draft_quantize: Annotated[str, typer.Option(help="Quantise the draft model to this type.")] = "",
    reference: Annotated[
        bool, typer.Option("--reference", help="Use GGUF files where they are, without a copy in the store.")
    ] = False,
) -> None:
    """Make a model of a Modelfile."""
    from dataclasses import replace

    from puna.store import ModelName
    from puna.store.modelfile import Modelfile
    from puna.store.recipe import request_of

    ModelName.parse(model)
    source, folder = _read(file)
    request, warnings = request_of(Modelfile.parse(source), model, folder)
    for warning in warnings:
        typer.echo(f"(warning: {warning})", err=True)
    make(replace(request, quantize=quantize, draft_quantize=draft_quantize, reference=reference))


def make(request: CreateRequest) -> None:
    """Make the model; how far it is goes to stderr."""
    import threading
    from functools import partial

    from puna.cli.transfer_bars import TransferBars
    from puna.runtime.parameters import parse_parameters
    from puna.store import Store
    from puna.store.create import create as create_model
    from puna.store.pulling import pull

    store, cancelled = Store(), threading.Event()
    with TransferBars() as bars:
        for warning in parse_parameters(request.parameters)[1]:
            typer.echo(f"(warning: {warning})", err=True)
        bring = partial(pull, store, report=bars.tell, cancelled=cancelled)
        create_model(store, request, pull=bring, report=bars.tell, cancelled=cancelled)
    typer.echo("success", err=True)


def _read(file: str | None) -> tuple[bytes, Path]:
    """The Modelfile's bytes, and the folder that its paths start from."""
    from puna.store.modelfile import MAX_BYTES

    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read(MAX_BYTES + 1), Path.cwd()
    path = Path(file or DEFAULT_FILE).expanduser()
    try:
        with path.open("rb") as opened:
            return opened.read(MAX_BYTES + 1), path.absolute().parent
    except FileNotFoundError:
        if file is None:
            return b"FROM .\n", Path.cwd()
        raise InvalidRequest(f"specified Modelfile wasn't found: {path}") from None
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}") from None
