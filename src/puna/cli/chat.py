"""The chat in the terminal: reads messages and `/commands`, asks, and survives errors and Ctrl-C."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from puna import conversation, paths
from puna.cli.session import Session
from puna.cli.terminal import MessageReader
from puna.errors import InvalidRequest, PunaError
from puna.runtime import Options

LEAVE_HINT = "(to leave: /bye, Ctrl-D, or Ctrl-C once more)"


def chat(session: Session) -> None:
    """Ask what is typed until the user leaves."""
    session.load()
    reader = MessageReader(paths.state_dir() / "chat_history")
    interrupted = False  # whether the last thing typed at the prompt was Ctrl-C
    while True:
        try:
            text = reader.read()
        except EOFError:
            return
        except KeyboardInterrupt:
            if interrupted:
                return
            interrupted = True
            typer.echo(LEAVE_HINT, err=True)
            continue
        interrupted = False
        try:
            if not _handle(session, text):
                return
        except PunaError as error:
            typer.echo(f"Error: {error}", err=True)


def _handle(session: Session, text: str) -> bool:
    """Obey a command or ask a question; False to leave the chat."""
    if text in ("/bye", "/exit"):
        return False
    if text.startswith("/"):
        _obey(session, text)
    elif text:
        session.ask(text)
    return True


@dataclass(frozen=True, slots=True)
class Command:
    """`/name usage`: what the user types after a slash."""

    name: str
    usage: str
    help: str
    act: Callable[[Session, str], None]


def _obey(session: Session, text: str) -> None:
    name, _, argument = text[1:].partition(" ")
    name = "help" if name.strip() == "?" else name.strip()
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
        session.system = text
    typer.echo(session.system or "(no system message of yours; the model's own is used if it has one)")


def _clear(session: Session, _argument: str) -> None:
    session.clear()
    typer.echo("(the conversation is forgotten; the system message stays)")


def _save(session: Session, name: str) -> None:
    conversation.save(_file(name, "/save"), session.messages)
    typer.echo(f"({len(session.messages)} messages saved in {name})")


def _load(session: Session, name: str) -> None:
    session.messages = list(conversation.load(_file(name, "/load")))
    typer.echo(f"({len(session.messages)} messages loaded; the conversation goes on from there)")


def _file(name: str, command: str) -> Path:
    if not name:
        raise InvalidRequest(f"name a file: {command} FILE")
    return Path(name).expanduser()


def _set(session: Session, argument: str) -> None:
    what, _, rest = argument.partition(" ")
    match what:
        case "parameter":
            session.options = _with_parameter(session.options, *rest.split())
            typer.echo(_parameters(session))
        case "system" if rest:
            _system(session, rest.strip().strip('"'))
        case "verbose" | "quiet":
            session.verbose = what == "verbose"
        case _:
            raise InvalidRequest("use /set parameter NAME VALUE, /set system TEXT, /set verbose or /set quiet")


# The options that are one number, and its type; a name of Ollama's leads to ours.
_NUMBERS: dict[str, type[int] | type[float]] = {
    "max_tokens": int,
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "typical_p": float,
    "repeat_penalty": float,
    "repeat_last_n": int,
    "presence_penalty": float,
    "frequency_penalty": float,
    "seed": int,
}
_OLLAMA_NAMES = {"num_predict": "max_tokens"}


def _with_parameter(options: Options, name: str = "", *values: str) -> Options:
    """The options with one changed. Raises InvalidRequest."""
    name = _OLLAMA_NAMES.get(name, name)
    if name == "stop" and values:
        return dataclasses.replace(options, stop=values)
    if name not in _NUMBERS or len(values) != 1:
        raise InvalidRequest(f"use /set parameter NAME VALUE, with one of stop, {', '.join(_NUMBERS)}")
    try:
        value: Any = _NUMBERS[name](values[0])
    except ValueError:
        raise InvalidRequest(f"{name} is a number, not {values[0]!r}") from None
    return dataclasses.replace(options, **{name: value})


def _show(session: Session, what: str) -> None:
    text_model = session.runtime.text_model(session.model)
    match what:
        case "parameters":
            typer.echo(_parameters(session))
        case "system":
            _system(session, "")
        case "template":
            typer.echo(text_model.template_source)
        case "info":
            typer.echo(f"{text_model.local.name}: {text_model.config.architecture}, {text_model.config.file_type}")
        case _:
            raise InvalidRequest("use /show info, /show parameters, /show system or /show template")


def _parameters(session: Session) -> str:
    chosen = session.options.over(session.runtime.text_model(session.model).defaults)
    values = ((field.name, getattr(chosen, field.name)) for field in dataclasses.fields(chosen))
    return "\n".join(f"{name:<20}{value}" for name, value in values if value is not None) or "(all defaults)"


COMMANDS = (
    Command("system", "[TEXT]", "Set or show the system message", _system),
    Command("clear", "", "Forget the conversation", _clear),
    Command("save", "FILE", "Save the conversation as JSON", _save),
    Command("load", "FILE", "Go on with a saved conversation", _load),
    Command("set", "parameter NAME VALUE", "Set a sampling parameter; also: system, verbose, quiet", _set),
    Command("show", "info|parameters|system|template", "Show the model or the settings", _show),
    Command("help", "", "This list; also /?", _help),
)
