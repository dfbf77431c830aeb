"""Conversations of many rounds with tools, and what must be true of the prompt that a small context leaves of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from puna.chat import Message, Tool, ToolCall
from puna.runtime import TextModel
from puna.runtime.prompt import ANSWER_ROOM

ROUNDS = 300
TOOLS = (Tool("clock", "The time", {"type": "object", "properties": {}}),)

_NUMBER = re.compile(r"[QCRA](\d+)")  # of a round, in the marks of its messages


def conversation(random: Random, *, system: bool, named: bool) -> list[Message]:
    """Rounds with one to three tool calls each or none; each message has its number, so that it can be found."""
    messages = [Message("system", "be brief (S)")] if system else []
    for number in range(ROUNDS):
        messages.append(Message("user", f"question {'really ' * random.randrange(6)}(Q{number})"))
        calls = tuple(
            ToolCall(f"id{number}x{n}" if named else None, "clock", {"at": f"C{number}.{n}"})
            for n in range(random.randrange(4))
        )
        if calls and random.random() < 0.6:
            messages.append(Message("assistant", "", tool_calls=calls))
            for n, call in enumerate(calls):
                messages.append(Message("tool", f"(R{number}.{n})", tool_call_id=call.id, tool_name="clock"))
        messages.append(Message("assistant", f"answer {'so ' * random.randrange(8)}(A{number})"))
    return [*messages, Message("user", f"the last question (Q{ROUNDS})")]


def check(
    model: TextModel, messages: Sequence[Message], tools: Sequence[Tool], text: str, report: dict[str, object], *,
    think: bool | None,
) -> None:  # fmt: skip
    """`text` is the prompt of the first system message and of the newest rounds; `report` says exactly what went."""
    said = [message for message in messages if message.role != "system"]
    assert ("(S)" in text) == (len(said) < len(messages)), "the first system message stays"
    kept = [number for number in range(ROUNDS + 1) if f"(Q{number})" in text]
    assert kept == list(range(kept[0], ROUNDS + 1)), "the oldest rounds go, whole, and the last one stays"
    for message in said:
        for mark in _marks(message):
            number = _NUMBER.search(mark)
            assert number
            assert (mark in text) == (int(number[1]) in kept), f"{mark}: calls and results stay with their question"
    first = next(i for i, message in enumerate(said) if f"(Q{kept[0]})" in message.content)
    assert report["dropped_messages"] == first

    def tokens(part: Sequence[Message]) -> int:
        return len(model.encode(model.render(part, tools=tools, think=think)))

    head, limit = messages[: len(messages) - len(said)], report["limit"]
    assert isinstance(limit, int)
    assert report["prompt_tokens"] == tokens([*head, *said[first:]]) < limit
    assert report["dropped_tokens"] == tokens(messages) - tokens([*head, *said[first:]])
    assert report["policy"] == "drop_oldest"
    room = min(ANSWER_ROOM, limit // 4)
    if first and tokens([*head, *said[first:]]) <= limit - room:
        before = max(i for i in range(first) if said[i].role == "user")
        assert tokens([*head, *said[before:]]) > limit - room, "no more goes than must"


def _marks(message: Message) -> list[str]:
    marks = [f'"{call.arguments["at"]}"' for call in message.tool_calls]
    return marks + ([message.content[message.content.index("(") :]] if message.content else [])
