"""The input items of /v1/responses to the runtime's messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import Field

from puna.chat import Message, ToolCall
from puna.errors import InvalidRequest
from puna.server.body import Body, check
from puna.server.openai.messages import content_of, role_of, text_of, tool_call
from puna.server.openai.tools import joined_name


class ItemBody(Body):
    """What all items have."""

    type: str = Field(default="message", description="What kind of item it is.")
    id: str | None = Field(default=None, description="Its name.")
    status: str | None = Field(default=None, description="completed, or incomplete.")


class MessageItem(ItemBody):
    """A message."""

    role: str = Field(description="user, assistant, system or developer.")
    content: str | list[dict[str, Any]] = Field(default="", description="The text, or parts of it.")


class CallItem(ItemBody):
    """A call that the model made."""

    call_id: str = Field(description="Ties the result to the call.")
    name: str = Field(description="The function.")
    namespace: str | None = Field(default=None, description="The namespace that it is of.")
    arguments: str = Field(default="{}", description="Its arguments as JSON text.")


class ResultItem(ItemBody):
    """What a call gave."""

    call_id: str = Field(description="The call that it answers.")
    output: str | list[dict[str, Any]] = Field(description="The result: a text, or parts of it.")


class ReasoningItem(ItemBody):
    """What the model thought."""

    summary: list[dict[str, Any]] = Field(default_factory=list, description="As a summary.")
    content: list[dict[str, Any]] = Field(default_factory=list, description="As it was.")
    encrypted_content: str | None = Field(default=None, description="Not used: `content` has the text.")

    @property
    def text(self) -> str:
        """As it was, else what is left of it."""
        return "\n".join(str(part.get("text", "")) for part in self.content or self.summary)


class SearchItem(ItemBody):
    """A search that another server ran: it is left out."""

    action: dict[str, Any] = Field(default_factory=dict, description="What was searched for.")


class FileSearchItem(ItemBody):
    """A search in vector stores: what it found was for the answer after it; each request searches anew."""

    queries: list[str] = Field(default_factory=list, description="What was looked for.")
    results: list[dict[str, Any]] = Field(default_factory=list, description="What was found.")


Item: TypeAlias = MessageItem | CallItem | ResultItem | ReasoningItem | SearchItem | FileSearchItem

KINDS: Mapping[str, type[Item]] = {
    "message": MessageItem,
    "function_call": CallItem,
    "function_call_output": ResultItem,
    "reasoning": ReasoningItem,
    "web_search_call": SearchItem,
    "file_search_call": FileSearchItem,
}


def items_of(documents: Sequence[Mapping[str, Any]]) -> list[Item]:
    """The items, checked. Raises InvalidRequest."""
    items = []
    for index, document in enumerate(documents):
        kind = document.get("type") or "message"
        if not isinstance(kind, str) or kind not in KINDS:
            raise InvalidRequest(f"input.{index}: an item of type {kind!r} is not supported; use {', '.join(KINDS)}")
        try:
            items.append(check(document, KINDS[kind]))
        except InvalidRequest as error:
            raise InvalidRequest(f"input.{index}.{error}") from None
    return items


def messages_of(instructions: str | None, items: Sequence[Item]) -> tuple[Message, ...]:
    """The conversation. `instructions` go before the system message that the items may begin with."""
    writer = _Writer()
    for item in items:
        writer.add(item)
    messages = writer.finish()
    if not instructions:
        return messages
    if messages and messages[0].role == "system":
        return (Message("system", f"{instructions}\n\n{messages[0].content}"), *messages[1:])
    return (Message("system", instructions), *messages)


@dataclass(slots=True)
class _Turn:
    """An assistant's turn, which may be several items: thoughts, a text, calls."""

    thoughts: list[str] = field(default_factory=list)
    text: str | None = None
    calls: list[ToolCall] = field(default_factory=list)

    def message(self) -> Message:
        thinking = "\n".join(self.thoughts) or None
        return Message("assistant", self.text or "", thinking=thinking, tool_calls=tuple(self.calls))


class _Writer:
    """Items to messages: those of one assistant's turn become one message."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._turn: _Turn | None = None
        self._called: dict[str, str] = {}  # function by call id

    def add(self, item: Item) -> None:
        match item:
            case ReasoningItem():
                self._turn_without(text=True, calls=True).thoughts.append(item.text)
            case MessageItem() if item.role == "assistant":
                self._turn_without(text=True, calls=True).text = text_of(item.content)
            case CallItem():
                name = joined_name(item.namespace, item.name)
                self._turn_without().calls.append(tool_call(name, item.arguments, item.call_id))
                self._called[item.call_id] = name
            case MessageItem():
                text, images = content_of(item.content)
                self._append(Message(role_of(item.role), text, images=images))
            case ResultItem():
                called = self._called.get(item.call_id)
                self._append(Message("tool", text_of(item.output), tool_call_id=item.call_id, tool_name=called))

    def finish(self) -> tuple[Message, ...]:
        self._end_turn()
        return tuple(self._messages)

    def _turn_without(self, *, text: bool = False, calls: bool = False) -> _Turn:
        """The assistant's turn; a new one where it already has what must not be there."""
        turn = self._turn
        if turn is None or (text and turn.text is not None) or (calls and turn.calls):
            self._end_turn()
            turn = self._turn = _Turn()
        return turn

    def _append(self, message: Message) -> None:
        self._end_turn()
        self._messages.append(message)

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._messages.append(self._turn.message())
            self._turn = None
