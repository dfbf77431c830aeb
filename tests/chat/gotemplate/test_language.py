"""The template language: what its documentation says, and what Go does where it says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from puna.errors import TemplateError
from tests.chat.gotemplate.running import run

DATA: dict[str, Any] = {
    "s": "héllo",
    "list": ["a", "b", "c"],
    "map": {"z": 1, "a": {"k": "v"}},
    "n": 3,
    "nil": None,
    "empty": [],
    "yes": True,
}

WRITTEN = [
    # text, comments, trimming
    ("a {{- 1 -}} b", "a1b"),
    ("a {{-1}} b", "a -1 b"),
    ("a {{/* note }} */}} b {{- /* x */ -}} c", "a  bc"),
    ("{{ `raw\n{{` }}", "raw\n{{"),
    # values
    ("{{ .n }} {{ .yes }} {{ .nil }} {{ .missing }} {{ .list }} {{ .map }}",
     "3 true <no value> <no value> [a b c] map[a:map[k:v] z:1]"),
    ("{{ 'a' }} {{ 0x1F }} {{ 1_000 }} {{ 1e3 }} {{ 1.50 }} {{ \"\\u00e9\\x41\" }} {{ 1+2i }}",
     "97 31 1000 1000 1.5 éA (1+2i)"),
    ("{{ .map.a.k }} {{ (index .map `a`).k }} {{ $.map.z }} {{ $x := .map }}{{ $x.a.k }}", "v v 1 v"),
    # conditions
    ("{{ if .empty }}1{{ else if .nil }}2{{ else if .list }}3{{ else }}4{{ end }}", "3"),
    ("{{ if 0 }}y{{ else }}n{{ end }}{{ if `` }}y{{ else }}n{{ end }}{{ if .map }}y{{ end }}", "nny"),
    ("{{ with .map.a }}{{ .k }}{{ else }}no{{ end }}", "v"),
    ("{{ with .nil }}1{{ else with .s }}{{ . }}{{ else }}3{{ end }}", "héllo"),
    ("{{ and 1 0 2 }} {{ or 0 `` `x` }} {{ not .nil }}", "0 x true"),
    ("{{ or .yes (index .list 9) }} {{ and .empty (index .list 9) }}", "true []"),
    # loops
    ("{{ range .list }}{{ . }},{{ end }}", "a,b,c,"),
    ("{{ range $i, $v := .list }}{{ $i }}{{ $v }} {{ end }}", "0a 1b 2c "),
    ("{{ range $v := .map }}{{ $v }} {{ end }}{{ range $k, $v := .map }}{{ $k }} {{ end }}", "map[k:v] 1 a z "),
    ("{{ range .empty }}x{{ else }}none{{ end }}", "none"),
    ("{{ range .list }}{{ if eq . `b` }}{{ continue }}{{ end }}{{ . }}{{ end }}", "ac"),
    ("{{ range .list }}{{ if eq . `b` }}{{ break }}{{ end }}{{ . }}{{ end }}!", "a!"),
    ("{{ range .list }}{{ . }}{{ range $.empty }}{{ else }}{{ break }}{{ end }};{{ end }}", "a;b;c;"),
    ("{{ range .list }}{{ . }}{{ range $.empty }}{{ else }}{{ continue }}{{ end }};{{ end }}", "abc"),
    ("{{ range 3 }}{{ . }}{{ end }}{{ range $i := 2 }}{{ $i }}{{ end }}", "01201"),
    ("{{ $last := `` }}{{ range .list }}{{ $last = . }}{{ end }}{{ $last }}", "c"),
    ("{{ $x := 1 }}{{ range .list }}{{ $x := 2 }}{{ end }}{{ $x }}", "1"),
    ("{{ $i := 9 }}{{ $v := 9 }}{{ range $i, $v = .list }}{{ end }}{{ $i }}{{ $v }}", "2c"),
    # templates
    ('{{ define "t" }}[{{ . }}{{ $ }}]{{ end }}{{ template "t" .n }}{{ template "t" }}', "[33][<no value><no value>]"),
    ('{{ block "b" .n }}{{ . }}!{{ end }}{{ template "b" 4 }}', "3!4!"),
    # pipelines
    ('{{ "put" | printf "%s%s" "out" | printf "%q" }}', '"output"'),
    ("{{ .s | len }} {{ len (slice .s 1 3) }} {{ slice .s 1 3 }} {{ index .s 0 }} {{ slice .list 1 }}",
     "6 2 é 104 [b c]"),
    # comparisons
    ("{{ eq .s `x` `héllo` }} {{ ne 1 2 }} {{ lt 1 2 }} {{ le `b` `a` }} {{ gt .n 2.5 }} {{ ge 2 2 }}",
     "true true true false true true"),
    ("{{ eq .nil nil }} {{ eq .missing .nil }} {{ eq .s nil }}", "true true false"),
    # printing
    ("{{ print 1 2 `a` `b` 3 4.5 nil }}|{{ println 1 `a` }}", "1 2ab3 4.5 <nil>|1 a\n"),
    ("{{ printf `%05d|%-6.2f|%x|%q|%t|%v|%T` 42 3.14159 `hi` `a\"b` true .list .n }}",
     '00042|3.14  |6869|"a\\"b"|true|[a b c]|float64'),
    ("{{ printf `%d %s %!` `x` 5 }} {{ printf `%[2]d %[1]d` 1 2 }} {{ printf `%d` 1 2 }}",
     "%!d(string=x) %!s(int=5) %!!(MISSING) 2 1 1%!(EXTRA int=2)"),
    ("{{ html `<a b='c'>&` }} {{ js `<\"'\\\n>` }} {{ urlquery `a b&c=é` }}",
     "&lt;a b=&#39;c&#39;&gt;&amp; \\u003C\\\"\\'\\\\\\u000A\\u003E a+b%26c%3D%C3%A9"),
    # what Ollama adds
    ("{{ json .map }} {{ json `<é\u2028\"` }} {{ json .nil }}", '{"a":{"k":"v"},"z":1} "\\u003cé\\u2028\\"" null'),
    ("{{ currentDate }} {{ yesterdayDate }} {{ currentDate `2006` }} {{ toTypeScriptType 1 }}",
     "2026-07-04 2026-07-03 2026-07-04 any"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "expected"), WRITTEN, ids=[template for template, _ in WRITTEN])
def test_what_templates_write(template: str, expected: str) -> None:
    assert run(template, DATA) == expected


WRONG = [
    ("\n{{ if }}", 2, "missing value for if"),
    ("{{ if 1 }}\n\n", 3, "an {{end}} is missing"),
    ("a\n{{ end }}", 2, "unexpected {{end}}"),
    ("{{ nothing }}", 1, "function 'nothing' not defined"),
    ("\n\n{{ $x }}", 3, "undefined variable '$x'"),
    ("{{ break }}", 1, "outside {{range}}"),
    ("{{ 1", 1, "unclosed action"),
    ("{{ (1 }}", 1, "unclosed left paren"),
    ("{{ 1) }}", 1, "unexpected right paren"),
    ('{{ "a }}', 1, "unterminated quoted string"),
    ("{{ /* a }}", 1, "in command"),
    ("{{/* a }}", 1, "unclosed comment"),
    ("{{ 12x }}", 1, "bad number syntax"),
    ("{{ 99999999999999999999 }}", 1, "integer overflow"),
    ("{{ '\\q' }}", 1, "invalid escape"),
    ("{{ .a$ }}", 1, "unexpected '$' after '.a'"),
    ('{{ define "a" }}1{{ end }}{{ define "a" }}2{{ end }}', 1, "multiple definition"),
    ("{{ 1 | 2 }}", 1, "non executable command"),
    ("{{ $a, $b := .s }}", 1, "too many declarations"),
    ("{{ with 1 }}{{ else if 1 }}{{ end }}", 1, "in else"),
    ("\n{{ len 3 }}", 2, "error calling len: len of int"),
    ("{{ index .list 3 }}", 1, "index out of range: 3"),
    ("{{ index .list `a` }}", 1, "type string"),
    ("{{ slice .s 2 1 }}", 1, "invalid slice index"),
    ("{{ eq .n 3 }}", 1, "incompatible types for comparison: float64 and int"),
    ("{{ lt .list .list }}", 1, "invalid type for comparison"),
    ("{{ .missing.x }}", 1, "nil pointer evaluating .x"),
    ("{{ .s.x }}", 1, "can't evaluate field x in type string"),
    ("{{ range .s }}{{ end }}", 1, "range can't iterate over string"),
    ("{{ nil }}", 1, "nil is not a command"),
    ("{{ .s 1 }}", 1, "can't give arguments"),
    ("{{ not }}", 1, "wrong number of args for not: want 1"),
    ("{{ and }}", 1, "wrong number of args for and: want at least 1"),
    ("{{ printf 1 }}", 1, "expected string"),
    ('{{ template "no" }}', 1, "not defined"),
    ("{{ $x = 1 }}", 1, "undefined variable: $x"),
    ("{{ call .s }}", 1, "non-function"),
]


@pytest.mark.parametrize(("template", "line", "message"), WRONG, ids=[template for template, _, _ in WRONG])
def test_what_is_wrong_is_told_with_its_line(template: str, line: int, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        run(template, DATA)
    assert f"line {line}: " in str(caught.value)
    assert message in str(caught.value)


def test_a_field_of_no_value_is_no_value_but_a_field_of_nil_is_an_error() -> None:
    assert run("{{ $x := .missing }}{{ $x.a.b }}") == "<no value>"
    with pytest.raises(TemplateError):
        run("{{ .missing.a }}")


def test_a_character_cut_in_two_is_whole_again_when_its_halves_meet() -> None:
    assert run("{{ slice .s 0 2 }}{{ slice .s 2 }}", {"s": "héllo"}) == "héllo"
    assert run("{{ slice .s 0 2 }}", {"s": "héllo"}) == "h\ufffd"


def test_numbers_that_a_float_would_change_are_kept() -> None:
    assert run("{{ json .a }} {{ .a }}", {"a": 9007199254740993}) == "9007199254740993 9007199254740993"
