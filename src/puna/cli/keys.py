"""`puna keys create`, `list`, `revoke`: who may use a server beyond this machine. They read and write the file itself,
which a running server reads again every second."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from puna.cli.output import human_age, table

if TYPE_CHECKING:
    from puna.server.accounts import Accounts

app = typer.Typer(help="API keys of the server: make, list and revoke them.", no_args_is_help=True)

UNITS = {"": 1, "k": 1000, "m": 1_000_000, "g": 1_000_000_000}


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is: letters, digits and . _ @ -")],
    models: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only models named so, such as `qwen3*`; may be given again. (all)"),
    ] = None,
    routes: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only paths such as `/v1/*`; may be given again. (all but /metrics)"),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TOKENS", help="Tokens a day (UTC), prompts and answers together: 50000, 200k/day, 1M."),
    ] = None,
) -> None:
    """Make a key and print it: only its hash is kept, so it is shown this once.

    From the first key on, a server asks for one.
    """
    tokens = None if budget is None else parse_budget(budget)
    with _accounts() as accounts:
        token = accounts.keys.create(name, models=models or (), routes=routes or (), budget=tokens)
    typer.echo("Keep it well, it cannot be shown again:", err=True)
    typer.echo(token)


@app.command("list")
def list_keys() -> None:
    """List the keys: what they may do, and the tokens each used today (UTC)."""
    now = datetime.now(UTC)
    with _accounts() as accounts:
        rows = [
            (
                key.name,
                " ".join(key.models) or "all",
                " ".join(key.routes) or "all",
                "none" if key.budget is None else str(key.budget),
                str(accounts.ledger.used_today(key.name)),
                "" if key.created is None else human_age(key.created, now),
                "" if key.revoked is None else human_age(key.revoked, now),
            )
            for key in accounts.keys.list()
        ]
    typer.echo(table(("NAME", "MODELS", "ROUTES", "BUDGET", "TODAY", "CREATED", "REVOKED"), rows))


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="A name that `puna keys list` shows.")]) -> None:
    """Let nobody use a key any more; a running server knows within a second."""
    with _accounts() as accounts:
        accounts.keys.revoke(name)


def parse_budget(text: str) -> int:
    """`50000`, `200k`, `1M/day` as tokens. Raises InvalidRequest."""
    from puna.errors import InvalidRequest

    found = re.fullmatch(r"([0-9]{1,15})([kmg]?)(/day)?", text.strip().lower())
    if found is None:
        raise InvalidRequest(f"{text!r} is no budget: tokens a day, such as 50000, 200k or 1M/day")
    return int(found[1]) * UNITS[found[2]]


@contextmanager
def _accounts() -> Iterator[Accounts]:
    from puna import paths
    from puna.server.accounts import Accounts

    with Accounts(paths.accounts_file()) as accounts:
        yield accounts
