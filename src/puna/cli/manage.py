"""`puna list`, `puna ps`, `puna stop`: what models there are, and which of them a server has loaded.

`list` reads the store itself; `ps` and `stop` ask the running server.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from puna.cli.output import human_age, human_size, table

if TYPE_CHECKING:
    from puna.client import LoadedModel

ID_DIGITS = 12


def list_models(
    prefix: Annotated[str, typer.Argument(metavar="[PREFIX]", help="Only names that begin so.")] = "",
) -> None:
    """List the models on this machine."""
    from puna.store import Store

    now = datetime.now(UTC)
    rows = [
        (model.name, model.digest[:ID_DIGITS], human_size(model.size), human_age(model.modified, now))
        for model in Store().list()
        if model.name.lower().startswith(prefix.lower())
    ]
    typer.echo(table(("NAME", "ID", "SIZE", "MODIFIED"), rows))


def ps() -> None:
    """List the models that the running server has loaded."""
    from puna.client import Client

    now = datetime.now(UTC)
    with Client() as client:
        rows = [_ps_row(model, now) for model in client.loaded()]
    typer.echo(table(("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"), rows))


def stop(model: Annotated[str, typer.Argument(help="A name that `puna ps` shows.")]) -> None:
    """Unload a model from the running server."""
    from puna.client import Client

    with Client() as client:
        client.stop(model)


def _ps_row(model: LoadedModel, now: datetime) -> tuple[str, ...]:
    until = "Forever" if model.expires_at is None else human_age(model.expires_at, now)
    share = round(100 * model.size_vram / model.size) if model.size else 0
    processor = {0: "100% CPU", 100: "100% GPU"}.get(share, f"{100 - share}%/{share}% CPU/GPU")
    size, context = human_size(model.size), str(model.context_length)
    return model.name, model.digest[:ID_DIGITS], size, processor, context, until
