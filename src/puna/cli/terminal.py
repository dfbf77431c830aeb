"""Reading one message of a chat: history, editing, and messages of several lines between `\"\"\"`.

Knows nothing of models or commands.
"""

from __future__ import annotations

import re
from pathlib import Path

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import HTML
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

QUOTES = '"""'
_SYSTEM = re.compile(r"\s*/(set )?system\s+")  # what a system message is typed after


class MessageReader:
    """Asks for messages; what was typed is kept in the file `history` for the next chat."""

    def __init__(self, history: Path) -> None:
        self._history = _open_history(history)
        self._session: PromptSession[str] = PromptSession(
            message=">>> ",
            history=self._history,
            multiline=Condition(lambda: is_open(self._session.default_buffer.text)),
            prompt_continuation="... ",
            placeholder=HTML("<ansigray>Send a message (/? for help)</ansigray>"),
        )

    def keep_history(self, wanted: bool) -> None:
        """Whether what is typed from now on is kept for the next chat, and offered again in this one."""
        self._session.history = self._history if wanted else InMemoryHistory()
        self._session.default_buffer.history = self._session.history

    def read(self) -> str:
        """One message, without its quotes. Raises KeyboardInterrupt on Ctrl-C and EOFError on Ctrl-D."""
        return unquote(self._session.prompt())


def is_open(text: str) -> bool:
    """Whether a message, or a system message, begun with triple quotes still waits for those at its end."""
    text = _SYSTEM.sub("", text, count=1).strip()
    return text.startswith(QUOTES) and not (len(text) >= 2 * len(QUOTES) and text.endswith(QUOTES))


def unquote(text: str) -> str:
    """The message inside the triple quotes, or the message as it is without blanks around it."""
    text = text.strip()
    return text.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n") if text.startswith(QUOTES) else text


def _open_history(path: Path) -> History:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError as error:
        typer.echo(f"(what you type is not kept for next time: {error})", err=True)
        return InMemoryHistory()
    return FileHistory(path)
