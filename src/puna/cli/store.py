"""`puna rm`, `puna cp`, `puna prune`, `puna verify`: what changes the store on this machine.

They change the store themselves; a server that has a removed model loaded is told to unload it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from puna.cli.output import human_size
from puna.errors import ModelNotFound, PunaError, ServerUnreachable, UnsupportedModel

if TYPE_CHECKING:
    from puna.store import Store
    from puna.store.pruning import Unused
    from puna.store.verifying import Damage

DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")]


def rm(models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Names of models.")]) -> None:
    """Remove models from this machine."""
    from puna.store import ModelName, Store, management
    from puna.store.store import in_package

    store = Store()
    names = {text: ModelName.parse(text) for text in models}
    for text, name in names.items():
        if not management.is_there(store.root, name) and not in_package(name):
            raise store.not_found(text)
    for text, name in names.items():
        _unload(store, text)
        freed = management.remove(store.root, name)
        typer.echo(f"deleted '{text}' ({human_size(freed)} freed)")


def cp(
    source: Annotated[str, typer.Argument(help="A model's name.")],
    destination: Annotated[str, typer.Argument(help="The name it is to have too.")],
) -> None:
    """Give a model another name too; nothing is stored twice."""
    from puna.store import ModelName, Store, management

    store = Store()
    try:
        management.copy(store, ModelName.parse(source), ModelName.parse(destination))
    except ModelNotFound:
        raise store.not_found(source) from None
    typer.echo(f"copied '{source}' to '{destination}'")


def prune(
    everything: Annotated[
        bool, typer.Option("--all", help="Also partial downloads, and files of the last hour that no model uses yet.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Remove files that no model uses."""
    from puna.store import Store
    from puna.store.pruning import prune as prune_store

    root = Store().root
    found = prune_store(root, everything=everything, dry_run=dry_run)
    for each in found:
        path = f"{each.path.parent.name}/{each.path.name}"  # what is in `damaged` has the name of a blob in use
        typer.echo(f"{path}    {human_size(each.size)}")
    typer.echo(f"{_count(found)} {'would be removed' if dry_run else 'removed'}")
    more = [each for each in prune_store(root, everything=True, dry_run=True) if each not in found]
    if more:
        typer.echo(f"({_count(more)}, fresh or half downloaded, kept: --all removes them too)", err=True)


def verify(dry_run: DryRun = False) -> None:
    """Hash all files of the store again; fetch what is damaged or missing again."""
    from puna.cli.transfer_bars import TransferBars
    from puna.store import Store
    from puna.store.registry.pulling import refetch
    from puna.store.verifying import verify as verify_store

    with TransferBars() as bars:
        found = verify_store(Store().root, fetch=refetch, dry_run=dry_run, report=bars.tell)
    for damage in found:
        typer.echo(_line(damage))
    left = sum(not damage.repaired for damage in found)
    if left:
        raise PunaError(f"{_files(left)} of the store damaged or missing")
    typer.echo(f"{_files(len(found))} repaired" if found else "every file of the store is what it should be")


def _count(found: Sequence[Unused]) -> str:
    return f"{_files(len(found))} ({human_size(sum(each.size for each in found))})"


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _line(damage: Damage) -> str:
    models = ", ".join(map(str, damage.models)) or "no model"
    state = "fetched again" if damage.repaired else damage.not_repaired or "not repaired"
    return f"{damage.path.name} (of {models}): {damage.reason}; {state}"


def _unload(store: Store, name: str) -> None:
    """Unload a model from the running server, if it is the one of that name here."""
    from puna.client import Client

    try:
        local = store.resolve(name)
        with Client() as client:
            for model in client.loaded():
                if (model.name, model.digest) == (local.name, local.digest):
                    client.stop(model.name)
    except (ServerUnreachable, UnsupportedModel, ModelNotFound):  # not loaded anywhere
        return
    except PunaError as error:
        typer.echo(f"({name} may still be loaded by a server: {error})", err=True)
