"""A Go template in a Jinja template's place: what it can do is found by rendering it."""

from __future__ import annotations

import pytest

from puna.chat import GoChatTemplate, Message, Tool
from puna.chat.answers import AnswerFormat, Text
from puna.chat.answers.formats import command_r, granite, hermes, lists, llama, mistral
from puna.chat.answers.syntax import CallSyntax
from puna.chat.messages import ToolCall
from puna.errors import TemplateError
from tests.chat.gotemplate import published

TOOL = Tool("look_up", "The weather", {"type": "object", "properties": {"place": {"type": "string"}}})
USER, ANSWER = Message("user", "Hi!"), Message("assistant", "Hello.")


def template(name: str) -> GoChatTemplate:
    return GoChatTemplate(getattr(published, name))


FOUND: dict[str, tuple[CallSyntax | None, str | None]] = {
    "CHATML": (None, None),
    "LLAMA2": (None, None),
    "LLAMA31": (llama.LLAMA, None),
    "MISTRAL_TOOLS": (mistral.LIST, None),
    "COMMAND_R": (command_r.ACTION_BLOCK, None),
    "QWEN25": (hermes.HERMES, None),
    "QWEN3": (None, "<think>"),
    "DEEPSEEK_R1": (None, "<think>"),
    "GRANITE": (granite.GRANITE, None),
    "NEMOTRON": (lists.NEMOTRON_MINI, None),
    "FIREFUNCTION": (lists.FIREFUNCTION, None),
}


@pytest.mark.parametrize("name", sorted(FOUND))
def test_how_a_go_template_writes_calls_and_thoughts_is_found(name: str) -> None:
    answers = AnswerFormat.of(template(name))
    syntax, mark = FOUND[name]
    assert answers.syntax is syntax
    assert answers.supports_tools == (syntax is not None)
    assert (answers.thoughts.open if answers.thoughts else None) == mark


def test_a_call_in_the_template_s_form_is_read_as_one() -> None:
    go = template("QWEN25")
    answers = AnswerFormat.of(go)
    prompt = go.render([USER], tools=[TOOL.to_dict()])
    parser = answers.parser(prompt, tools=[TOOL])
    pieces = (
        parser.push('<tool_call>\n{"name": "look_up", "arguments": {"place": "Lima"}}\n</tool_call>') + parser.finish()
    )
    assert [(piece.name, piece.arguments) for piece in pieces if isinstance(piece, ToolCall)] == [
        ("look_up", {"place": "Lima"})
    ]
    assert not any(isinstance(piece, Text) and piece.text.strip() for piece in pieces)


def test_gpt_oss_answers_in_channels_and_its_levels_are_known() -> None:
    answers = AnswerFormat.of(template("GPT_OSS"))
    assert answers.channels
    assert answers.supports_tools
    prompt = template("GPT_OSS").render([USER], **answers.variables("high"))
    assert "Reasoning: high\n" in prompt


@pytest.mark.parametrize(
    ("think", "end"), [(True, "/think<|im_end|>\n<|im_start|>assistant\n"), (False, "</think>\n\n")]
)
def test_thinking_is_switched_by_what_the_template_reads(think: bool, end: str) -> None:
    answers = AnswerFormat.of(template("QWEN3"))
    assert template("QWEN3").render([USER], **answers.variables(think)).endswith(end)
    assert answers.prefill(think, "") == ""  # the template does it


def test_a_template_that_knows_of_thoughts_thinks_when_nobody_says() -> None:
    assert template("DEEPSEEK_R1").render([USER]).endswith("<｜Assistant｜><think>\n")
    assert "IsThinkSet:false" not in template("QWEN3").render([USER])
    assert GoChatTemplate("{{ .Prompt }} {{ .IsThinkSet }}").render([USER]) == "Hi! false"


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("CHATML", "<|im_end|>\n"),
        ("LLAMA2", " </s><s>"),
        ("LLAMA31", "<|eot_id|>"),
        ("MISTRAL", "</s>"),
        ("GEMMA", "<end_of_turn>\n"),
        ("QWEN25", "<|im_end|>\n"),
        ("VICUNA", "</s>"),
        ("DEEPSEEK_R1", "<｜end▁of▁sentence｜>"),
    ],
)
def test_what_ends_an_answer_is_told_from_what_begins_the_next_turn(name: str, end: str) -> None:
    assert template(name).answer_end == end


@pytest.mark.parametrize("name", ["CHATML", "LLAMA3", "MISTRAL_TOOLS", "PHI3", "ALPACA", "QWEN25"])
def test_an_answer_can_be_continued(name: str) -> None:
    text = template(name).render([USER, ANSWER], continue_final_message=True)
    assert text.endswith("Hello.")
    assert text.count("Hello.") == 1


def test_what_reaches_the_prompt_is_known() -> None:
    assert template("QWEN25").supports_system
    assert template("QWEN25").supports_tools
    assert not template("CHATML").supports_tools
    assert not GoChatTemplate("{{ .Prompt }}").supports_system
    assert template("CODELLAMA").infills
    assert not template("CHATML").infills


def test_a_text_that_is_no_template_is_refused_when_it_is_opened() -> None:
    with pytest.raises(TemplateError, match="line 2"):
        GoChatTemplate("a\n{{ if }}")
