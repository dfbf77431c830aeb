"""Hostile templates: whatever they are, they end soon, with a text of bounded length or a TemplateError."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.chat.gotemplate import render_chat
from puna.chat.gotemplate.budget import MAX_BYTES, MAX_SECONDS
from puna.errors import TemplateError
from tests.chat.gotemplate.generating import case
from tests.chat.gotemplate.running import outcome

ROOT = Path(__file__).parents[3]
LOOP = "{{ range 9223372036854775807 }}"
HOSTILE = {
    "an endless loop": LOOP + "{{ end }}",
    "an endless loop that writes": LOOP + "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{{ end }}",
    "loops in loops": "{{ range 1000 }}" * 9 + "x" + "{{ end }}" * 9,
    "a template that calls itself": '{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}',
    "templates that call each other twice": "".join(
        f'{{{{ define "t{n}" }}}}x{{{{ template "t{n + 1}" }}}}{{{{ template "t{n + 1}" }}}}{{{{ end }}}}'
        for n in range(40)
    )
    + '{{ define "t40" }}{{ end }}{{ template "t0" }}',
    "a text that doubles": "{{ $x := `aaaaaaaaaaaaaaaa` }}" + LOOP + "{{ $x = print $x $x }}{{ end }}",
    "escapes that grow": "{{ $x := `<<<<<<<<<<<<` }}" + LOOP + "{{ $x = js $x }}{{ end }}",
    "quotes that grow": '{{ $x := `""""` }}' + LOOP + "{{ $x = printf `%q%q` $x $x }}{{ end }}",
    "JSON that grows": '{{ $x := `""""` }}' + LOOP + "{{ $x = json $x }}{{ end }}",
    "a wide number": "{{ printf `" + "%1000000d" * 5000 + "`" + " 1" * 5000 + " }}",
    "a precise number": "{{ printf `" + "%.1000000f" * 5000 + "`" + " 1.5" * 5000 + " }}",
    "many zeros": "{{ printf `" + "%.1000000d" * 5000 + "`" + " 1" * 5000 + " }}",
    "parentheses": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "blocks": "{{ if 1 }}" * 5000 + "{{ end }}" * 5000,
    "else if": "{{ if 0 }}" + "{{ else if 0 }}" * 4000 + "{{ end }}",
    "definitions": '{{ block "a" 1 }}' * 3000 + "{{ end }}" * 3000,
    "a long source": "a" * 100_000,
    "a long number": "{{ " + "9" * 60_000 + " }}",
    "a long exponent": "{{ 1e" + "9" * 60_000 + " }}",
    "a long pipeline": "{{ 1" + " | print" * 7000 + " }}",
    "open braces": "{{" * 30_000,
    "open comments": "{{/*" * 15_000,
    "open quotes": '{{"' * 20_000,
    "slices": "{{ $x := .Messages }}" + LOOP + "{{ $x = slice $x 0 }}{{ end }}",
    "printed messages": LOOP + "{{ .Messages }}{{ end }}",
}


def attempt(template: str) -> tuple[str, str]:
    """The text, and what was wrong."""
    try:
        return render_chat(template, [{"role": "user", "content": "hi"}]), ""
    except TemplateError as error:
        return "", str(error)


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_template_ends_soon(name: str) -> None:
    started = time.thread_time()
    text, error = attempt(HOSTILE[name])
    assert time.thread_time() - started < MAX_SECONDS + 0.5
    assert len(text) < MAX_BYTES
    assert len(error) < 300


def test_hostile_templates_take_little_memory() -> None:
    code = """
import resource
from tests.chat.gotemplate.test_limits import HOSTILE, attempt
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name, template in HOSTILE.items():
    if any(word in name for word in ("grow", "doubles", "number", "zeros", "braces", "blocks", "parentheses")):
        attempt(template)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 100 << 10  # KiB


def test_many_rounds_have_one_budget() -> None:
    messages = [{"role": ("user", "assistant")[at % 2], "content": "x"} for at in range(400)]
    started = time.thread_time()
    with pytest.raises(TemplateError, match="stopped"):
        render_chat("{{ range 50000 }}{{ end }}{{ .Prompt }}{{ .Response }}", messages)
    assert time.thread_time() - started < MAX_SECONDS + 0.5


def test_data_that_are_nested_deeply_are_an_error() -> None:
    value: object = 1
    for _ in range(5000):
        value = [value]
    call = {"function": {"name": "f", "arguments": {"a": value}}}
    with pytest.raises(TemplateError, match="nested too deeply"):
        render_chat("{{ .Messages }}", [{"role": "assistant", "content": "", "tool_calls": [call]}])


def test_a_long_conversation_is_rendered_however_often_it_is_looked_through() -> None:
    template = (
        "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}{{ .Role }}{{ .Content }}"
        "{{ if $last }}end{{ end }}{{ end }}"
    )
    messages = [{"role": ("user", "assistant")[at % 2], "content": "word " * 50} for at in range(1000)]
    assert render_chat(template, messages).endswith("end")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 40))
def test_a_random_template_writes_or_is_refused(seed: int) -> None:
    outcome(case(seed, noise=0.1))


_PIECES = st.sampled_from(
    ["{{", "}}", "{{-", "-}}", " - ", "if", "else", "end", "range", "with", "define", "block", "template", "break",
     ".", ".a", "$", "$x", ":=", "=", ",", "|", "(", ")", '"a"', "`", '"', "'", "'a'", "1", "1e9", "0x", "1i", "nil",
     "true", "print", "printf", "%999999d", "index", "slice", "and", "json", " ", "\n", "/*", "*/", "\\", "é", "\x00",
     "\ud800", "text"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(_PIECES, max_size=30).map("".join) | st.text(max_size=50))
def test_pieces_of_templates_in_any_order_are_rendered_or_refused(template: str) -> None:
    text, error = attempt(template)
    text.encode()
    assert not error or "line" in error
