"""The tools on offer, as a parser needs them: only what calls one of them is a call."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Mapping, Sequence

from puna.chat.answers.arguments import as_object, typed
from puna.chat.answers.source import NotACall, Source, Steps
from puna.chat.answers.values import sound
from puna.chat.messages import Tool, ToolCall

_ALPHANUMERIC = string.ascii_letters + string.digits


def new_id() -> str:
    """An id for a call, of the length OpenAI's have."""
    return "call_" + nine_characters() + nine_characters()


def nine_characters() -> str:
    """An id as Mistral's templates demand it."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(9))


class Toolbox:
    """Makes calls of the tools on offer; every method raises NotACall for another tool."""

    def __init__(self, tools: Sequence[Tool], new_id: Callable[[], str] = new_id) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._new_id = new_id

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def __len__(self) -> int:
        return len(self._tools)

    def name(self, source: Source) -> Steps[str]:
        """Read the name of a tool, which must come next."""
        return (yield from source.expect(*self._tools))

    def call(self, name: object, arguments: object) -> ToolCall:
        """A call with its arguments as a value: an object, or JSON text of one."""
        tool = self._tool(name)
        found = as_object(arguments)
        sound(found)
        return ToolCall(self._new_id(), tool.name, found)

    def call_untyped(self, name: str, arguments: Mapping[str, str]) -> ToolCall:
        """A call with its arguments as bare texts, which become what the tool's schema says."""
        parameters = self._tool(name).parameters
        return self.call(name, {key: typed(text, key, parameters) for key, text in arguments.items()})

    def _tool(self, name: object) -> Tool:
        tool = self._tools.get(name) if isinstance(name, str) else None
        if tool is None:
            raise NotACall(f"{name!r} is not a tool on offer")
        return tool
