"""The conversations that every template is tried on, and how each is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from puna.chat import Message, ToolCall

NOW = datetime(2026, 7, 4, 12, 30, 15)
BOS, EOS = "<s>", "</s>"

WEATHER: Mapping[str, object] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": '天气: the weather <b>in a city</b> & its "mood"',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "its name"},
                "days": {"type": "integer", "enum": [1, 7]},
            },
            "required": ["city"],
        },
    },
}

SYSTEM = Message("system", "You are 有用 <helpful>.")
ASK = Message("user", "你会说中文吗?\n 'a' \"b\" {{ c }} <|im_end|>")
YES = Message("assistant", "会的。")
MORE = Message("user", "  and now?  ")
CALL = ToolCall("call00001", "get_weather", {"city": "北京", "days": 7})
CALLS = Message("assistant", "", tool_calls=(CALL,))
TWO_CALLS = Message("assistant", "I look.", tool_calls=(CALL, ToolCall("call00002", "get_weather", {})))
RESULT = Message("tool", '{"sky": "晴"}', tool_call_id="call00001", tool_name="get_weather")
SECOND_RESULT = Message("tool", "none", tool_call_id="call00002", tool_name="get_weather")
THOUGHT = Message("assistant", "Yes.", thinking="They ask\nfor Chinese.")
INLINE_THOUGHT = Message("assistant", "<think>\nold thought\n</think>\n\nYes.")


@dataclass(frozen=True, slots=True)
class Case:
    """One render: what `ChatTemplate.render` is given."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, object], ...] = ()
    add_generation_prompt: bool = True
    variables: Mapping[str, object] = field(default_factory=dict)


CASES: Mapping[str, Case] = {
    "user": Case((ASK,)),
    "system": Case((SYSTEM, ASK)),
    "turns": Case((SYSTEM, ASK, YES, MORE)),
    "answered": Case((ASK, YES), add_generation_prompt=False),
    "empty content": Case((Message("user", ""),)),
    "tools offered": Case((SYSTEM, ASK), (WEATHER,)),
    "tool called": Case((ASK, CALLS, RESULT), (WEATHER,)),
    "two tools called": Case((SYSTEM, ASK, TWO_CALLS, RESULT, SECOND_RESULT, YES, MORE), (WEATHER,)),
    "tool called, none offered": Case((ASK, CALLS, RESULT)),
    "thought": Case((ASK, THOUGHT, MORE)),
    "thought before a call": Case(
        (ASK, Message("assistant", "", thinking="Look it up.", tool_calls=(CALL,)), RESULT), (WEATHER,)
    ),
    "inline thought": Case((ASK, INLINE_THOUGHT, MORE)),
    "thinking off": Case((ASK,), variables={"enable_thinking": False}),
    "thinking on": Case((ASK,), variables={"enable_thinking": True, "thinking": True}),
    "documents": Case((ASK,), variables={"documents": [{"title": "T", "text": "中 < 国"}]}),
    "two users": Case((ASK, MORE)),
    "assistant first": Case((YES, ASK)),
    "unknown role": Case((Message("critic", "no"), ASK)),
}
