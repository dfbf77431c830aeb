"""The typer application: which verbs there are, and how errors become exit codes.

Knows nothing of what a verb does. Exit codes: 0; 1 an error of ours, told in one line; 2 wrong usage; 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from puna.cli import (
    bench,
    create,
    documents,
    keys,
    manage,
    plan,
    quantize,
    run,
    serve,
    show,
    store,
    text,
    transfer,
    webui,
)
from puna.errors import PunaError

app = typer.Typer(
    name="puna",
    help="Large language models on your own machine, in Python down to the SIMD kernels.",
    epilog="Begin with `puna run cria`: a very small model that comes in the box.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"puna version is {version('puna')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", "-v", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


app.command("run", cls=run.RunCommand)(run.run)
app.command("pull")(transfer.pull)
app.command("push")(transfer.push)
app.command("create")(create.create)
app.command("quantize")(quantize.quantize)
app.command("imatrix")(quantize.imatrix)
app.command("serve")(serve.serve)
app.command("webui")(webui.webui)
app.command("list")(manage.list_models)
app.command("ls", hidden=True)(manage.list_models)
app.command("show")(show.show)
app.command("ps")(manage.ps)
app.command("stop")(manage.stop)
app.command("rm")(store.rm)
app.command("cp")(store.cp)
app.command("prune")(store.prune)
app.command("verify")(store.verify)
app.command("tokenize")(text.tokenize)
app.command("render")(text.render)
app.command("index")(documents.index)
app.command("search")(documents.search)
app.command("ask")(documents.ask)
app.add_typer(keys.app, name="keys")
app.command("plan")(plan.plan)
app.command("bench")(bench.bench)


def main() -> None:
    """Run the verb of the command line; exits the process."""
    for stream in (sys.stdout, sys.stderr):
        # A pipe may have a narrow encoding (Windows, LANG=C); a model's answer is any text.
        if hasattr(stream, "reconfigure") and not stream.isatty():
            stream.reconfigure(encoding="utf-8")
    try:
        app(prog_name="puna")
    except PunaError as error:
        typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
        sys.exit(1)
