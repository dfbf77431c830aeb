"""The chat's `/commands`: Ollama's, and a few of our own. Knows nothing of how lines are read and answers printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from puna import conversation
from puna.cli.session import Session
from puna.cli.terminal import MessageReader, unquote
from puna.errors import InvalidRequest
from puna.runtime.parameters import parse_format, parse_parameters, parse_think, to_parameters
from puna.store.parameters import KINDS, Parameter, parse_parameter

CONVERSATION = ".json"  # what /save and /load take for a file, not for a model's name


@dataclass(frozen=True, slots=True)
class Command:
    """`/name usage`: what the user types after a slash."""

    name: str
    usage: str
    help: str
    act: Callable[[Session, str], None]


def obey(session: Session, reader: MessageReader, text: str) -> None:
    """Do what a line that begins with a slash says. Raises a PunaError where that cannot be done."""
    name, _, argument = text[1:].partition(" ")
    name = "help" if name.strip() == "?" else name.strip()
    if name == "set" and argument.strip() in ("history", "nohistory"):
        reader.keep_history(argument.strip() == "history")
        return
    command = next((command for command in COMMANDS if command.name == name), None)
    if command is None:
        raise InvalidRequest(f"there is no command /{name}; /? lists them (a message cannot begin with /)")
    command.act(session, argument.strip())


def _help(_session: Session, _argument: str) -> None:
    rows = [(f"/{command.name} {command.usage}", command.help) for command in COMMANDS]
    rows += [('"""', "Begin and end a message of several lines"), ("Ctrl-C", "Stop the answer")]
    rows += [("Ctrl-D, /bye", "Leave")]
    typer.echo("\n".join(f"  {what:<40}{meaning}" for what, meaning in rows))


def _system(session: Session, text: str) -> None:
    if text:
        session.system = unquote(text).strip('"')
    typer.echo(session.system or "(no system message of yours; the model's own is used if it has one)")


def _clear(session: Session, _argument: str) -> None:
    session.clear()
    typer.echo("(the conversation is forgotten; the system message stays)")


def _save(session: Session, name: str) -> None:
    if _required(name, "/save").endswith(CONVERSATION):
        conversation.save(Path(name).expanduser(), session.messages)
        typer.echo(f"({len(session.messages)} messages saved in {name})")
    else:
        session.save_model(name)
        typer.echo(f"(created the model {name!r}, with this conversation, its system message and its parameters)")


def _load(session: Session, name: str) -> None:
    if _required(name, "/load").endswith(CONVERSATION):
        session.messages = list(conversation.load(Path(name).expanduser()))
        typer.echo(f"({len(session.messages)} messages loaded; the conversation goes on from there)")
    else:
        session.switch(name)
        typer.echo(f"(the conversation is now with {name!r}, from its beginning)")


def _required(name: str, command: str) -> str:
    if not name:
        raise InvalidRequest(f"say where: {command} MODEL, or {command} FILE{CONVERSATION} for the conversation alone")
    return name


def _set(session: Session, argument: str) -> None:
    what, _, rest = argument.partition(" ")
    rest = rest.strip()
    match what:
        case "parameter":
            _set_parameter(session, *rest.split())
            typer.echo(_chosen(session))
        case "system" if rest:
            _system(session, rest)
        case "verbose" | "quiet":
            session.verbose = what == "verbose"
        case "think" | "nothink":
            session.think = parse_think(rest or "true") if what == "think" else False
        case "format" if rest == "json":
            session.options = dataclasses.replace(session.options, grammar=parse_format(rest))
        case "noformat":
            session.options = dataclasses.replace(session.options, grammar=None)
        case "wordwrap" | "nowordwrap":
            session.wordwrap = what == "wordwrap"
        case _:
            raise InvalidRequest(
                "use /set parameter NAME VALUE, /set system TEXT, /set format json, /set noformat, /set think [LEVEL], "
                "/set nothink, /set history, /set nohistory, /set wordwrap, /set nowordwrap, /set verbose or /set quiet"
            )


def _set_parameter(session: Session, name: str = "", *values: str) -> None:
    """Change one option. Raises InvalidRequest."""
    if not values or (len(values) > 1 and name != "stop"):
        raise InvalidRequest(f"use /set parameter NAME VALUE, with one of {', '.join(KINDS)}")
    value: Parameter = list(values) if name == "stop" else parse_parameter(name, values[0])
    changed, warnings = parse_parameters({name: value})
    if warnings:
        raise InvalidRequest("; ".join(warnings))
    session.options = changed.over(session.options)


def _show(session: Session, what: str) -> None:
    from puna.cli.show import sections
    from puna.store.recipe import modelfile_of

    model = session.runtime.text_model(session.model)
    match what:
        case "info":
            typer.echo("\n\n".join(sections(model)))
        case "license":
            typer.echo("\n".join(model.local.licenses) or "(the model names no license)")
        case "modelfile":
            typer.echo(modelfile_of(session.as_model()), nl=False)
        case "parameters":
            typer.echo(_chosen(session))
        case "system":
            typer.echo(session.system or model.local.system or "(the model has no system message)")
        case "template":
            typer.echo(model.template_source)
        case _:
            raise InvalidRequest("use /show info, license, modelfile, parameters, system or template")


def _chosen(session: Session) -> str:
    from puna.store.recipe import parameter_lines

    chosen = session.options.over(session.runtime.text_model(session.model).defaults)
    return "\n".join(parameter_lines(to_parameters(chosen))) or "(all defaults)"


COMMANDS = (
    Command("system", "[TEXT]", "Set or show the system message", _system),
    Command("clear", "", "Forget the conversation", _clear),
    Command("save", "MODEL | FILE.json", "Make a model of this chat, or save its messages", _save),
    Command("load", "MODEL | FILE.json", "Chat with another model, or go on with saved messages", _load),
    Command("set", "parameter NAME VALUE", "Set a parameter; also: system, format, think, history, ...", _set),
    Command("show", "info|modelfile|...", "Show the model; also: license, parameters, system, template", _show),
    Command("help", "", "This list; also /?", _help),
)
