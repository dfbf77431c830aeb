"""`puna pull` and `puna push`: a model brought to this machine or sent from it, with how far it is.

The store is read and changed here; no server is needed.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated

import typer

from puna.cli.output import human_size, table
from puna.errors import ModelNotFound, TransferError

if TYPE_CHECKING:
    from puna.store import Store
    from puna.store.pulling import Cost

Insecure = Annotated[bool, typer.Option("--insecure", help="Allow a registry without TLS.")]
DIGITS = 12


def pull(
    model: Annotated[
        str, typer.Argument(help="A name, such as llama3.2, hf.co/USER/REPO:Q4_K_M, or the URL of a file.")
    ],
    insecure: Insecure = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Fetch nothing; say what it would take.")] = False,
) -> None:
    """Bring a model to this machine.

    What has come stays when it is interrupted: the same command goes on from there.
    """
    from puna.store import Store

    if dry_run:
        from puna.store.pulling import plan

        typer.echo(costs(plan(Store(), model, insecure=insecure, cancelled=threading.Event())))
    else:
        bring(Store(), model, insecure=insecure)
        typer.echo("success", err=True)


def push(
    model: Annotated[str, typer.Argument(help="A name with the registry's host or your namespace, such as you/model.")],
    insecure: Insecure = False,
) -> None:
    """Send a model to the registry that its name says.

    What the registry has taken stays there when it is interrupted: the same command goes on from there.
    """
    from puna.cli.transfer_bars import TransferBars
    from puna.store import Store
    from puna.store.registry.pushing import name_to_push
    from puna.store.registry.pushing import push as push_model

    name = name_to_push(model, insecure=insecure)
    with TransferBars() as bars:
        push_model(Store(), name, insecure=insecure, report=bars.tell, cancelled=threading.Event())
    typer.echo("success", err=True)


def bring(store: Store, model: str, *, insecure: bool = False) -> None:
    """Pull a model; how far it is goes to stderr. Raises as `puna.store.pulling.pull`."""
    from puna.cli.transfer_bars import TransferBars
    from puna.store.pulling import pull as pull_model
    from puna.store.registry.pulling import NotInRegistry

    cancelled = threading.Event()
    try:
        with TransferBars() as bars:
            pull_model(store, model, insecure=insecure, report=bars.tell, cancelled=cancelled)
    except NotInRegistry as error:
        raise ModelNotFound(f"{error}: there is no model {model!r} where that name leads") from error


def bring_if_missing(model: str, *, insecure: bool = False) -> None:
    """Pull a model that is not here.

    Raises:
        ModelNotFound: it is nowhere.
        TransferError, StoreError, and what `puna.store.pulling.pull` raises.
    """
    from puna.store import Store
    from puna.store.sources.choosing import looks_like_path

    store = Store()
    try:
        store.resolve(model)
    except ModelNotFound as missing:
        if looks_like_path(model):
            raise
        try:
            bring(store, model, insecure=insecure)
        except (ModelNotFound, TransferError) as error:
            raise type(error)(f"{missing}; and it cannot be pulled: {error}") from error


def costs(parts: list[Cost]) -> str:
    """A table of a model's parts, and what they come to."""
    rows = [
        (part.what, (part.digest or "")[:DIGITS], human_size(part.size), _state(part.here, part.size)) for part in parts
    ]
    total, here = sum(part.size for part in parts), sum(part.here for part in parts)
    summary = f"{human_size(total - here)} to fetch, {human_size(here)} here already"
    return f"{table(('PART', 'DIGEST', 'SIZE', 'STATE'), rows)}\n{summary}" if parts else summary


def _state(here: int, size: int) -> str:
    if here >= size:
        return "here"
    return f"{100 * here // size}% here" if here else "to fetch"
