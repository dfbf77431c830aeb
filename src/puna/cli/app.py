"""The typer application: which verbs there are, and how errors become exit codes.

Knows nothing of what a verb does. Exit codes: 0; 1 an error of ours, told in one line; 2 wrong usage; 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from puna.cli import bench, manage, run, serve, text
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


app.command("run")(run.run)
app.command("serve")(serve.serve)
app.command("list")(manage.list_models)
app.command("ls", hidden=True)(manage.list_models)
app.command("show")(manage.show)
app.command("ps")(manage.ps)
app.command("stop")(manage.stop)
app.command("tokenize")(text.tokenize)
app.command("render")(text.render)
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
