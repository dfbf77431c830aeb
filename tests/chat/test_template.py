"""ChatTemplate against transformers' apply_chat_template (committed golden files), and what it finds out by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from puna.chat import ChatTemplate, Message, ToolCall
from puna.chat.messages import MessageShape, to_dict
from puna.errors import InvalidRequest, TemplateError
from tests.chat.conversations import ASK, BOS, CALLS, CASES, EOS, MORE, NOW, RESULT, SYSTEM, WEATHER, YES

FOLDER = Path(__file__).parent
FAMILIES = sorted(path.stem for path in (FOLDER / "templates").glob("*.jinja"))


def template(family: str) -> ChatTemplate:
    source = (FOLDER / "templates" / f"{family}.jinja").read_text(encoding="utf-8")
    return ChatTemplate(source, bos_token=BOS, eos_token=EOS, now=lambda: NOW)


def test_there_are_templates_of_more_than_ten_families() -> None:
    assert len(FAMILIES) > 10


@pytest.mark.parametrize("family", FAMILIES)
def test_every_render_equals_transformers(family: str) -> None:
    goldens = json.loads((FOLDER / "goldens" / f"{family}.json").read_text(encoding="utf-8"))
    assert goldens.keys() == CASES.keys()
    chat_template = template(family)
    render: Callable[..., str] = chat_template.render
    for name, case in CASES.items():
        given = dict(tools=case.tools, add_generation_prompt=case.add_generation_prompt, **case.variables)
        expected = goldens[name]
        if "error" in expected:
            with pytest.raises(TemplateError) as caught:
                render(case.messages, **given)
            assert expected["error"] in str(caught.value), name
        else:
            assert render(case.messages, **given) == expected["text"], name


@pytest.mark.parametrize(
    ("family", "system", "tools"),
    [
        ("qwen2.5", True, True),
        ("qwen3", True, True),
        ("gpt-oss", True, True),
        ("granite3.3", True, True),
        ("mistral-nemo", True, True),
        ("deepseek-r1", True, False),
        ("phi3.5", True, False),
        ("smolvlm", True, False),
    ],
)
def test_features_are_found_by_rendering(family: str, system: bool, tools: bool) -> None:
    found = template(family)
    assert (found.supports_system, found.supports_tools) == (system, tools)


def test_a_template_that_refuses_system_messages_is_known_to() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    refusing = ChatTemplate(source)
    assert not refusing.supports_system
    with pytest.raises(TemplateError, match=r"refuses these messages: System role not supported"):
        refusing.render([SYSTEM, ASK])


def test_the_shape_that_a_template_needs_is_found() -> None:
    assert template("qwen3").shape == MessageShape()
    assert template("deepseek-r1").shape == MessageShape(json_arguments=True, null_content=True)
    assert template("smolvlm").shape == MessageShape(content_parts=True)


def test_deepseek_r1_writes_tool_calls_that_plain_dicts_would_lose() -> None:
    text = template("deepseek-r1").render([ASK, CALLS, RESULT])
    assert '{"city": "北京", "days": 7}' in text


def test_no_template_means_chatml_and_is_reported() -> None:
    for fallback in (ChatTemplate(""), ChatTemplate(" \n"), ChatTemplate({})):
        assert fallback.is_default
        assert fallback.render([SYSTEM, ASK]).endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert not template("qwen3").is_default


def test_an_empty_list_of_tools_is_no_tools() -> None:
    qwen = template("qwen2.5")
    assert qwen.render([ASK], tools=[]) == qwen.render([ASK])
    assert "<tools>" not in ChatTemplate("{% if tools is not none %}<tools>{% endif %}").render([ASK], tools=[])


def test_the_named_template_for_tools_is_taken_only_with_tools() -> None:
    named = ChatTemplate({"default": "plain", "tool_use": "with {{ tools[0].function.name }}"})
    assert named.render([ASK]) == "plain"
    assert named.render([ASK], tools=[WEATHER]) == "with get_weather"


def test_named_templates_without_a_default_say_their_names() -> None:
    with pytest.raises(TemplateError, match="rag, but none named default"):
        ChatTemplate({"rag": "x"}).render([ASK])


def test_templates_are_read_from_a_files_metadata() -> None:
    metadata = {
        "general.architecture": "llama",
        "tokenizer.chat_template": "{{ bos_token }}plain",
        "tokenizer.chat_template.tool_use": "tools",
        "tokenizer.chat_templates": ["tool_use"],
    }
    found = ChatTemplate.from_metadata(metadata, bos_token=BOS)
    assert found.render([ASK]) == BOS + "plain"
    assert found.render([ASK], tools=[WEATHER]) == "tools"
    assert ChatTemplate.from_metadata({"general.architecture": "llama"}).is_default


def test_special_tokens_and_variables_reach_the_template() -> None:
    source = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ mood }}|{{ unknown_token }}"
    tokens = ChatTemplate(source, bos_token="<b>", eos_token="<e>", special_tokens={"pad_token": "<p>"})
    assert tokens.render([ASK], mood="good") == "<b>|<e>|<p>|good|"


def test_the_date_is_the_callers() -> None:
    assert ChatTemplate("{{ strftime_now('%d %b %Y') }}", now=lambda: NOW).render([ASK]) == "04 Jul 2026"


def test_generation_marks_render_their_body_only() -> None:
    source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    assert ChatTemplate(source).render([YES]) == YES.content


def test_tojson_is_jsons_own_and_takes_its_parameters() -> None:
    source = "{{ x|tojson }} {{ x|tojson(indent=2) }} {{ x|tojson(separators=(',',':'), sort_keys=true) }}"
    value = {"b": "<中>'", "a": [1, None, True]}
    expected = [
        json.dumps(value, ensure_ascii=False),
        json.dumps(value, ensure_ascii=False, indent=2),
        json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True),
    ]
    assert ChatTemplate(source).render([ASK], x=value) == " ".join(expected)


@pytest.mark.parametrize("family", ["qwen3", "granite4", "mistral-nemo"])
def test_a_continued_message_stays_open(family: str) -> None:
    begun = template(family).render([ASK, Message("assistant", "I am")], continue_final_message=True)
    assert begun.endswith("I am")


def test_continuing_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no message to continue"):
        template("qwen3").render([], continue_final_message=True)
    with pytest.raises(TemplateError, match="cannot be continued"):
        ChatTemplate("nothing").render([YES], continue_final_message=True)


def test_a_variable_that_is_not_json_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="mood: a chat template takes JSON data, not a complex"):
        template("qwen3").render([ASK], mood=1j)


def test_a_message_has_only_the_keys_it_needs() -> None:
    assert to_dict(MORE) == {"role": "user", "content": "  and now?  "}
    assert to_dict(Message("assistant", "", thinking="hm", tool_calls=(ToolCall(None, "f", {"a": 1}),))) == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "hm",
        "thinking": "hm",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
    }
    assert to_dict(RESULT) == {
        "role": "tool",
        "content": '{"sky": "晴"}',
        "tool_call_id": "call00001",
        "name": "get_weather",
    }
