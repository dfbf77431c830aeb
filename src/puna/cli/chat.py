"""The chat in the terminal: reads messages and `/commands`, asks, and survives errors and Ctrl-C."""

from __future__ import annotations

import typer

from puna import paths
from puna.cli.commands import obey
from puna.cli.session import Session
from puna.cli.terminal import MessageReader
from puna.errors import PunaError

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
            if not _handle(session, reader, text):
                return
        except PunaError as error:
            typer.echo(f"Error: {error}", err=True)


def _handle(session: Session, reader: MessageReader, text: str) -> bool:
    """Obey a command or ask a question; False to leave the chat."""
    if text in ("/bye", "/exit"):
        return False
    if text.startswith("/"):
        obey(session, reader, text)
    elif text:
        session.ask(text)
    return True
