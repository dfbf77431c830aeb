from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna import conversation
from puna.chat import Message, ToolCall
from puna.errors import InvalidRequest

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
text = st.text()
tool_calls = st.builds(ToolCall, st.none() | text, text, st.dictionaries(text, json_values))
messages = st.builds(
    Message,
    role=st.text(min_size=1),
    content=text,
    thinking=st.none() | text,
    tool_calls=st.lists(tool_calls, max_size=2).map(tuple),
    tool_call_id=st.none() | text,
    tool_name=st.none() | text,
)


@given(st.lists(messages, min_size=1, max_size=4))
def test_what_is_saved_is_what_is_loaded(saved: list[Message]) -> None:
    assert list(conversation.loads(conversation.dumps(saved), "test")) == saved


@given(json_values)
def test_no_json_value_breaks_the_reader(value: object) -> None:
    try:
        conversation.loads(json.dumps(value), "a file")
    except InvalidRequest as error:
        assert "a file" in str(error)  # noqa: PT017 (most values are no conversation, a few are)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("hello", "a message is an object"),
        ({"content": "a"}, "'role'"),
        ({"role": "user"}, "'content'"),
        ({"role": "user", "content": None}, "'content'"),
        ({"role": "user", "content": "a\ud800"}, "'content' is not valid Unicode at character 1"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "'content'"),
        ({"role": "user", "content": "a", "images": ["x"]}, "'images'"),
        ({"role": "user", "content": "a", "thinking": 1}, "'thinking'"),
        ({"role": "assistant", "content": "", "tool_calls": "x"}, "'tool_calls'"),
        ({"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}, "tool call"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}, "not JSON"),
    ],
)
def test_a_message_that_cannot_be_honoured_is_named_not_dropped(value: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        conversation.to_messages([{"role": "user", "content": "fine"}, value])
    assert str(caught.value).startswith("message 1: ")


def test_openai_s_and_ollama_s_tool_calls_become_the_same() -> None:
    as_text = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    as_object = {"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}
    [one, two] = conversation.to_messages(
        {"role": "assistant", "content": None, "tool_calls": [call]} for call in (as_text, as_object)
    )
    assert one == two == Message("assistant", "", tool_calls=(ToolCall("1", "f", {"a": 1}),))


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "你"}, {"type": "text", "text": "好"}]
    assert conversation.from_dict({"role": "user", "content": parts}).content == "你好"


def test_no_messages_is_an_error_not_an_empty_prompt() -> None:
    with pytest.raises(InvalidRequest, match="no messages"):
        conversation.to_messages([])


@pytest.mark.parametrize("content", ["", "{", '{"messages": []}', "[1]", "[" * 100_000, '"\ud800"'])
def test_a_bad_file_says_which_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(InvalidRequest, match=r"bad\.json"):
        conversation.load(path)


def test_a_missing_file_says_which_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot read .*none"):
        conversation.load(tmp_path / "none")


def test_saving_over_a_conversation_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    conversation.save(path, [Message("user", "one")])
    conversation.save(path, [Message("user", "两")])
    assert conversation.load(path) == (Message("user", "两"),)
    assert [each.name for each in tmp_path.iterdir()] == ["chat.json"]


def test_saving_never_overwrites_something_else(tmp_path: Path) -> None:
    path = tmp_path / "thesis.tex"
    path.write_text("years of work")
    with pytest.raises(InvalidRequest, match="not overwritten"):
        conversation.save(path, [Message("user", "hello")])
    assert path.read_text() == "years of work"


def test_saving_where_one_cannot_is_an_error_that_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot write"):
        conversation.save(tmp_path / "no" / "such" / "folder.json", [Message("user", "hello")])
    assert list(tmp_path.iterdir()) == []
