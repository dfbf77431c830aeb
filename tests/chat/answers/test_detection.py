"""How a model answers is found by its template: published ones, extracts of others, cria's."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import pytest

from puna.chat import ChatTemplate, Message
from puna.chat.answers import AnswerFormat
from puna.chat.answers.formats import (
    command_r,
    deepseek,
    functionary,
    gemma,
    glm,
    granite,
    hermes,
    kimi,
    lists,
    llama,
    mistral,
    qwen_coder,
)
from puna.chat.answers.formats.python_calls import LFM2
from puna.chat.answers.syntax import CallSyntax
from puna.gguf import open_model
from tests.chat.answers.families import EXTRACTS, TEMPLATES, answer_format, template

# family: syntax, mark of thoughts
FOUND: dict[str, tuple[CallSyntax | None, str | None]] = {
    "apertus": (lists.APERTUS, "<|inner_prefix|>"),
    "bielik3": (hermes.HERMES, "<think>"),
    "deepseek-r1": (deepseek.V3, "<think>"),
    "deepseek-v3.1": (deepseek.V3_1, "<think>"),
    "glm4.6": (glm.GLM, "<think>"),
    "gpt-oss": (None, None),  # channels
    "granite3.3": (granite.GRANITE, "<think>"),
    "granite4": (hermes.HERMES, None),
    "mistral-nemo": (mistral.LIST, None),
    "mistral-small3.2": (mistral.NAMED, None),
    "phi3.5": (None, None),
    "qwen2.5": (hermes.HERMES, None),
    "qwen3": (hermes.HERMES, "<think>"),
    "seed-oss": (qwen_coder.SEED, "<seed:think>"),
    "smollm3": (None, "<think>"),
    "smolvlm": (None, None),
    "llama3.2": (llama.LLAMA, None),
    "command-r": (command_r.ACTION_BLOCK, None),
    "command-r7b": (command_r.ACTION_MARKS, "<|START_THINKING|>"),
    "functiongemma": (gemma.FUNCTION_GEMMA, None),
    "gemma4": (gemma.GEMMA4, "<|channel>thought"),
    "qwen3-coder": (qwen_coder.QWEN_CODER, None),
    "minimax-m2": (qwen_coder.MINIMAX, None),
    "lfm2": (LFM2, None),
    "mistral-v3": (mistral.LIST, None),
    "magistral": (mistral.NAMED, "[THINK]"),
    "deepseek-v3": (deepseek.V3, None),
    "deepseek-v3.1-tools": (deepseek.V3_1, None),
    "deepseek-v3.2": (deepseek.V3_2, "<think>"),
    "kimi-k2": (kimi.KIMI, "<think>"),
    "functionary3.1": (functionary.FUNCTIONARY, None),
    "functionary3.2": (functionary.ADDRESSED, None),
    "qwen3.5": (qwen_coder.QWEN_CODER, "<think>"),
}


@pytest.mark.parametrize("family", sorted(FOUND))
def test_the_way_a_template_writes_calls_and_thoughts_is_found(family: str) -> None:
    found = answer_format(family)
    syntax, mark = FOUND[family]
    assert found.syntax is syntax
    assert (found.thoughts.open if found.thoughts else None) == mark
    assert found.channels == (family == "gpt-oss")


def test_every_kept_template_is_looked_at() -> None:
    assert set(FOUND) == {path.stem for path in TEMPLATES.glob("*.jinja")} | set(EXTRACTS)


@pytest.mark.parametrize("family", ["deepseek-r1", "deepseek-v3.1", "phi3.5", "smolvlm"])
def test_a_template_that_does_not_show_tools_has_none(family: str) -> None:
    assert not answer_format(family).supports_tools


@pytest.mark.parametrize(
    "family", ["qwen2.5", "llama3.2", "gpt-oss", "granite3.3", "apertus", "gemma4", "mistral-nemo"]
)
def test_a_template_that_shows_tools_has_them(family: str) -> None:
    assert answer_format(family).supports_tools


def test_tools_that_are_shown_in_an_unknown_way_do_not_count() -> None:
    source = "{{ tools | tojson }}{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
    source += "CALL {{ c.function.name }} WITH {{ c.function.arguments.place }}{% endfor %}{% endfor %}"
    assert not AnswerFormat.of(ChatTemplate(source)).supports_tools


@pytest.mark.parametrize("source", ["", "{{ raise_exception('no') }}", "{{ messages[7].content }}", "<tool_call>"])
def test_a_template_that_refuses_everything_still_has_a_format(source: str) -> None:
    answers = AnswerFormat.of(ChatTemplate(source))
    assert not answers.supports_tools
    assert [piece.text for piece in answers.parser("").push("a <tool_call>")] == ["a <tool_call>"]  # type: ignore[union-attr]


def test_marks_that_are_control_tokens_are_named() -> None:
    assert answer_format("mistral-small3.2").special_tokens == {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"}
    assert {"<|channel|>", "<|message|>", "<|call|>"} <= answer_format("gpt-oss").special_tokens
    assert {"<|channel>", "<channel|>", '<|"|>', "<|tool_call>"} <= answer_format("gemma4").special_tokens
    assert answer_format("qwen3").special_tokens == {"<tool_call>", "</tool_call>", "<think>", "</think>"}


def test_cria_calls_tools_as_hermes_does() -> None:
    with as_file(files("puna") / "data" / "cria.gguf") as path:
        file = open_model(Path(path))
        cria = ChatTemplate.from_metadata(file.metadata)
        file.close()
    answers = AnswerFormat.of(cria)
    assert answers.supports_tools == cria.supports_tools
    if cria.supports_tools:
        assert answers.syntax is hermes.HERMES


def test_what_a_template_writes_before_a_call_does_not_hide_it() -> None:
    # The prompt goes on with <think>, the conversation with <tool_call>: both begin with <t.
    source = (
        template("qwen3").sources["default"].replace("enable_thinking is defined and enable_thinking is false", "true")
    )
    opened = ChatTemplate(source)
    assert opened.render([Message("user", "hi")]).endswith("</think>\n\n")
    assert AnswerFormat.of(opened).syntax is hermes.HERMES
