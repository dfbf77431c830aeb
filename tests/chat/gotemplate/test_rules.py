"""Ollama's rules: rounds, neighbours of one role, how the last answer stays open, what tools and calls look like."""

from __future__ import annotations

from typing import Any

import pytest

from puna.chat.gotemplate import GoTemplate, render_chat
from puna.errors import InvalidRequest

ROUND = "[{{ .System }}|{{ .Prompt }}|{{ .Response }}]"
MESSAGES = "{{ range .Messages }}<{{ .Role }}:{{ .Content }}>{{ end }}"


def turns(*pairs: str) -> list[dict[str, Any]]:
    """`s:`, `u:`, `a:` or `t:` and the text."""
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": roles[pair[0]], "content": pair[2:]} for pair in pairs]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (turns("u:1"), "[|1|"),
        (turns("s:S", "u:1"), "[S|1|"),
        (turns("s:S", "u:1", "a:2", "u:3"), "[S|1|2][|3|"),
        (turns("u:1", "a:2", "s:T", "u:3"), "[|1|2][T|3|"),
        (turns("u:1", "s:T", "u:3"), "[|1|][T|3|"),
        (turns("a:0", "u:1"), "[||0][|1|"),
        (turns("u:1", "a:2"), "[|1|2"),
        (turns("u:1", "u:2"), "[|1\n\n2|"),
        (turns("s:S", "s:T", "u:1"), "[S\n\nT|1|"),
        (turns("u:1", "t:9", "u:2"), "[|2|"),
        ([], "[||"),
    ],
)
def test_rounds_of_a_template_that_knows_no_messages(messages: list[dict[str, Any]], expected: str) -> None:
    assert render_chat(ROUND, messages) == expected


def test_the_response_follows_a_template_that_says_nothing_of_it() -> None:
    assert render_chat("<{{ .Prompt }}>", turns("u:1", "a:2", "u:3")) == "<1>2<3>"
    assert render_chat("no fields", turns("u:1", "a:2", "u:3")) == "no fields2no fields"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ if .Prompt }}{{ .Response }}!{{ end }}end", "2"),
        ("{{ if .Prompt }}p{{ .Response }}{{ else }}{{ .Response }}{{ end }}end", "p2"),
        ("{{ with .Prompt }}{{ . }}{{ end }}a{{ print .Response `z` }}end", "1a2"),
        ("{{ (print `y` .Response `z`) | print `x` }}", "y2"),
        ("{{ if .Response }}r{{ end }}-{{ .Response }}end", "r-2"),  # a condition does not write it
        ("{{ $.Response }}end", "2end"),
    ],
)
def test_the_last_round_ends_with_the_answer_so_far(template: str, expected: str) -> None:
    assert render_chat(template, turns("u:1", "a:2")) == expected


def test_neighbours_of_one_role_are_one_message_but_results_of_tools_are_not() -> None:
    messages = turns("u:1", "u:2", "a:3", "a:4", "t:5", "t:6")
    assert render_chat(MESSAGES, messages) == "<user:1\n\n2><assistant:3\n\n4><tool:5><tool:6>"


def test_system_messages_are_one_text_and_stay_among_the_messages() -> None:
    assert render_chat("{{ .System }}" + MESSAGES, turns("s:A", "u:1", "s:B")) == "A\n\nB<system:A><user:1><system:B>"


@pytest.mark.parametrize(
    ("think", "expected"),
    [(None, "false  false"), (True, "true medium true"), (False, "false  true"), ("high", "true high true")],
)
def test_what_a_template_is_told_of_thinking(think: Any, expected: str) -> None:
    for rest in ("", "{{ with .Messages }}{{ end }}"):
        template = "{{ .Think }} {{ .ThinkLevel }} {{ .IsThinkSet }}" + rest
        assert render_chat(template, turns("u:1"), think=think) == expected


def test_no_tools_are_null_and_an_empty_list_is_one() -> None:
    template = "{{ .Tools }}{{ if .Tools }}yes{{ end }}" + MESSAGES
    assert render_chat(template, [], None) == "null"
    assert render_chat(template, [], []) == "[]"


def test_parts_of_a_tool_print_as_json_with_sorted_properties_and_without_unknown_keys() -> None:
    properties = {
        "b": {"type": ["string", "null"], "format": "x"},
        "a": {"anyOf": [{"type": "integer"}], "enum": [1, "<"]},
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": properties}}}
    template = (
        "{{ range .Tools }}{{ .Function.Parameters.Properties }}|{{ .Function.Parameters }}|{{ . }}{{ end }}" + MESSAGES
    )
    shown = '{"a":{"anyOf":[{"type":"integer"}],"enum":[1,"\\u003c"]},"b":{"type":["string","null"]}}'
    parameters = f'{{"type":"object","properties":{shown}}}'
    function = f'{{"name":"f","description":"","parameters":{parameters}}}'
    whole = f'{{"type":"function","function":{function}}}'
    assert render_chat(template, [], [tool]) == f"{shown}|{parameters}|{whole}"


def test_properties_inside_a_property_keep_their_order() -> None:
    inner = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "null"}}}
    function = {"name": "f", "parameters": {"type": "object", "properties": {"p": inner}}}
    template = (
        "{{ range .Tools }}{{ json .Function.Parameters.Properties.p }}"
        " {{ .Function.Parameters.Properties.p.Properties.Len }}"
        "{{ range $k, $v := .Function.Parameters.Properties.p.Properties.ToMap }} {{ $k }}{{ end }}{{ end }}" + MESSAGES
    )
    expected = '{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"null"}}} 2 '
    assert render_chat(template, [], [{"type": "function", "function": function}]).startswith(expected)


@pytest.mark.parametrize("arguments", [{"b": 1.5, "a": [2, {"d": None}]}, '{"b": 1.5, "a": [2, {"d": null}]}'])
def test_arguments_of_a_call_print_as_json_and_can_be_ranged_over(arguments: object) -> None:
    call = {"id": "x", "function": {"name": "f", "arguments": arguments}}
    template = (
        "{{ range .Messages }}{{ range .ToolCalls }}{{ .Function.Arguments }} {{ .ID }} {{ .Function.Index }}"
        "{{ range $k, $v := .Function.Arguments }} {{ $k }}={{ $v }}{{ end }} {{ json . }}{{ end }}{{ end }}"
    )
    shown = '{"a":[2,{"d":null}],"b":1.5}'
    assert render_chat(template, [{"role": "assistant", "content": "", "tool_calls": [call]}]) == (
        f'{shown} x 0 a=[2 map[d:<nil>]] b=1.5 {{"id":"x","function":{{"index":0,"name":"f","arguments":{shown}}}}}'
    )


def test_arguments_that_are_no_json_and_images_that_are_no_base64_are_refused() -> None:
    call = {"function": {"name": "f", "arguments": "{"}}
    with pytest.raises(InvalidRequest, match="JSON"):
        render_chat(MESSAGES, [{"role": "assistant", "tool_calls": [call]}])
    with pytest.raises(InvalidRequest, match="base64"):
        render_chat(MESSAGES, [{"role": "user", "images": ["?"]}])


def test_images_are_counted_and_encoded() -> None:
    template = "{{ range .Messages }}{{ range .Images }}[img]{{ json . }}{{ end }}{{ end }}"
    assert render_chat(template, [{"role": "user", "content": "", "images": ["AQI="]}]) == '[img]"AQI="'


def test_what_a_template_mentions() -> None:
    template = GoTemplate(
        '{{ define "t" }}{{ $.Suffix }}{{ end }}{{ if (and 1 .Tools) }}{{ end }}{{ "Think" }}{{ .think }}'
    )
    assert [template.mentions(name) for name in ("Suffix", "Tools", "Think", "Messages")] == [True, True, True, False]


def test_a_lone_surrogate_of_a_message_becomes_a_replacement_character() -> None:
    assert render_chat("{{ .Prompt }}{{ json .Prompt }}", turns("u:a\ud800")).startswith('a\ufffd"a\ufffd"')
