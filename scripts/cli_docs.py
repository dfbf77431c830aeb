"""Writes docs/cli.md from the typer application: `python scripts/cli_docs.py` (a test fails when it was forgotten)."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any

from typer.models import ArgumentInfo, OptionInfo

from puna.cli.app import app

TARGET = Path(__file__).parent.parent / "docs" / "cli.md"

HEAD = """# The command line

Made by `python scripts/cli_docs.py` from the verbs in `src/puna/cli/`; do not edit by hand.

Results go to standard output, everything else (progress, notes, timings, errors) to standard error.
Exit codes: 0; 1 an error, told in one line; 2 wrong usage; 130 Ctrl-C.
"""


def document() -> str:
    """The whole page."""
    groups = [(f"{group.name} ", group.typer_instance) for group in app.registered_groups]
    commands = [
        (f"{prefix}{command.name or getattr(command.callback, '__name__', '')}", command.callback)
        for prefix, each in [("", app), *groups]
        if each is not None
        for command in each.registered_commands
        if not command.hidden
    ]
    return "\n".join([HEAD, *(_verb(name, callback) for name, callback in commands if callback)])


def _verb(name: str, function: Callable[..., Any]) -> str:
    hints = typing.get_type_hints(function, include_extras=True)
    arguments, options = [], []
    for parameter in inspect.signature(function).parameters.values():
        kind, info = typing.get_args(hints[parameter.name])
        required = parameter.default is inspect.Parameter.empty
        if isinstance(info, ArgumentInfo):
            arguments.append((_argument(parameter.name, kind, info, required), info.help or ""))
        elif isinstance(info, OptionInfo):
            default = parameter.default if isinstance(parameter.default, int) and kind is int else None
            help_text = f"{info.help} ({default})" if default is not None else info.help or ""
            options.append((_option(parameter.name, kind, info), help_text))
    usage = " ".join(["puna", name, *(left for left, _ in arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"## puna {name}", "", f"    {usage}", "", inspect.cleandoc(function.__doc__ or ""), ""]
    if rows := arguments + options:
        lines += ["| | |", "|---|---|", *(f"| `{left}` | {right} |" for left, right in rows), ""]
    return "\n".join(lines)


def _argument(name: str, kind: Any, info: ArgumentInfo, required: bool) -> str:
    if info.metavar:
        return info.metavar
    shown = name.upper() + ("..." if typing.get_origin(_inner(kind)) is list else "")
    return shown if required else f"[{shown}]"


def _option(name: str, kind: Any, info: OptionInfo) -> str:
    long = f"--{name.replace('_', '-')}"
    # typer takes the first of `Option("--json", "-j")` for a default until it has seen the Annotated.
    declared = [each for each in (info.default, *(info.param_decls or ())) if isinstance(each, str)]
    if _inner(kind) is bool:
        return ", ".join(declared) or f"{long}, --no-{long[2:]}"
    metavar = info.metavar or _inner(kind).__name__.upper().replace("STR", "TEXT")
    return f"{', '.join(declared) or long} {metavar}"


def _inner(kind: Any) -> Any:
    """`int` of `int | None`."""
    kinds = [each for each in typing.get_args(kind) if each is not NoneType]
    return kinds[0] if NoneType in typing.get_args(kind) else kind


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
