"""Messages as templates read them, where a template wants calls named by their ids."""

from __future__ import annotations

from puna.chat import ChatTemplate, Message, ToolCall
from puna.chat.messages import MessageShape, to_dicts
from tests.chat.answers.families import EXTRACTS

KIMI = MessageShape(named_ids=True)


def test_ids_of_any_kind_become_names_with_numbers_and_results_keep_to_their_calls() -> None:
    written = to_dicts(
        [
            Message("user", "hi"),
            Message("assistant", "", tool_calls=(ToolCall("a", "now"), ToolCall("b", "add"))),
            Message("tool", "of b", tool_call_id="b"),
            Message("tool", "of a", tool_call_id="a"),
            Message("assistant", "", tool_calls=(ToolCall(None, "now"), ToolCall(None, "add"))),
            Message("tool", "first"),
            Message("tool", "second"),
            Message("tool", "of nothing", tool_call_id="x"),
        ],
        KIMI,
    )
    calls = [call["id"] for message in written for call in message.get("tool_calls", ())]  # type: ignore[attr-defined]
    assert calls == ["functions.now:0", "functions.add:1", "functions.now:2", "functions.add:3"]
    results = {message["content"]: message.get("tool_call_id") for message in written if message["role"] == "tool"}
    assert results == {
        "of b": "functions.add:1",
        "of a": "functions.now:0",
        "first": "functions.now:2",
        "second": "functions.add:3",
        "of nothing": "x",
    }


def test_a_template_that_names_calls_by_id_is_found_and_given_such_ids() -> None:
    template = ChatTemplate(EXTRACTS["kimi-k2"])
    assert template.shape.named_ids
    text = template.render([Message("user", "hi"), Message("assistant", "", tool_calls=(ToolCall("xyz", "now"),))])
    assert "<|tool_call_begin|>functions.now:0<" in text
    assert not ChatTemplate(EXTRACTS["deepseek-v3"]).shape.named_ids
