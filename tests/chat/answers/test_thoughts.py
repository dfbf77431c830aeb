"""Thinking switched on, off and to a level: by the template's variables, else by an empty thought in the prompt."""

from __future__ import annotations

import pytest

from puna.chat import ChatTemplate, Message, Think
from puna.chat.answers import AnswerFormat
from tests.chat.answers.families import answer_format, template
from tests.chat.answers.reading import read

HELLO = [Message("user", "hello")]


def prompt(family: str, think: Think | None) -> str:
    answers = answer_format(family)
    text = template(family).render(HELLO, **answers.variables(think))
    return text + answers.prefill(think, text)


@pytest.mark.parametrize(
    ("family", "variables"),
    [
        ("qwen3", {"enable_thinking": False}),
        ("granite3.3", {"thinking": False}),
        ("deepseek-v3.1", {"enable_thinking": False, "thinking": False}),
        ("seed-oss", {"thinking_budget": 0}),
        ("gpt-oss", {"reasoning_effort": "low"}),
        ("deepseek-r1", {}),
        ("phi3.5", {}),
    ],
)
def test_the_variables_that_switch_thinking_off_are_found(family: str, variables: dict[str, object]) -> None:
    assert answer_format(family).variables(False) == variables
    assert answer_format(family).variables(None) == {}


@pytest.mark.parametrize(
    ("family", "end"),
    [
        ("qwen3", "<think>\n\n</think>\n\n"),  # by the switch
        ("deepseek-r1", "<think>\n\n</think>\n\n"),  # the prompt opens a thought: it is closed
        ("deepseek-v3.1", "<think></think>"),
        ("seed-oss", "</seed:think>"),
        ("magistral", "[THINK][/THINK]"),  # no switch
        ("gpt-oss", "<|channel|>analysis<|message|><|end|><|start|>assistant"),
    ],
)
def test_without_thinking_the_prompt_ends_with_an_empty_thought(family: str, end: str) -> None:
    assert prompt(family, False).endswith(end)
    assert read(answer_format(family), ["Yes."], prompt=prompt(family, False)).plain[:2] == ("Yes.", "")


@pytest.mark.parametrize("family", ["qwen2.5", "phi3.5", "mistral-nemo", "granite4"])
def test_a_model_that_never_thinks_is_left_alone(family: str) -> None:
    assert not answer_format(family).supports_thinking
    for think in (None, False, True, "high"):
        assert answer_format(family).variables(think) == {}
        assert answer_format(family).prefill(think, "x") == ""


def test_thinking_is_switched_on_where_it_is_off() -> None:
    assert prompt("deepseek-v3.1", None).endswith("<think></think>")
    for think in (True, "low"):
        opened = prompt("deepseek-v3.1", think)
        assert opened.endswith("<think>")
        assert read(answer_format("deepseek-v3.1"), ["Hm</think>Yes."], prompt=opened).plain[:2] == ("Yes.", "Hm")


@pytest.mark.parametrize(("think", "effort"), [("low", "low"), ("medium", "medium"), ("high", "high"), ("max", "high")])
def test_levels_reach_a_template_that_reads_them(think: Think, effort: str) -> None:
    assert answer_format("gpt-oss").variables(think) == {"reasoning_effort": effort}
    assert f"Reasoning: {effort}" in prompt("gpt-oss", think)


def test_levels_a_template_would_refuse_become_the_nearest() -> None:
    source = (
        "{% if reasoning_effort is defined and reasoning_effort not in ('low', 'xhigh', 'none') %}"
        "{{ raise_exception('no such effort') }}{% endif %}{{ reasoning_effort }} {{ messages[0].content }}</think>"
    )
    answers = AnswerFormat.of(ChatTemplate(source))
    assert [answers.variables(think) for think in ("low", "high", "max", False)] == [
        {"reasoning_effort": effort} for effort in ("low", "xhigh", "xhigh", "none")
    ]
    assert answers.variables("medium") == {}
