"""Values that models write, and arguments that come as bare text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.chat.answers.arguments import typed
from puna.chat.answers.source import NotACall
from puna.chat.answers.values import parse_calls, parse_value

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_json_and_python_literals_are_read_as_they_are(value: object) -> None:
    assert parse_value(json.dumps(value)) == value
    assert parse_value(repr([value])) == [value]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'a': True, 'b': None}", {"a": True, "b": None}),
        ("{a: 1, b-c: 'x',}", {"a": 1, "b-c": "x"}),
        ('{"a": "two\nlines"}', {"a": "two\nlines"}),
        ("['it\\'s', \"\\u00e9\\n\"]", ["it's", "é\n"]),
        ("['\\ud83d\\ude00']", ["😀"]),
        ("(1, .5, -2e3)", [1, 0.5, -2000.0]),
    ],
)
def test_what_models_write_for_json_is_understood(text: str, value: object) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaN",
        "[Infinity]",
        "[1e999]",
        '["\\ud800"]',
        "{1: 2}",
        "[1 2]",
        "{'a': b}",
        "[" * 100,
        "[1]]",
        "9" * 5000,
        "-",
        "[--1]",
    ],
)
def test_what_no_json_can_carry_is_refused(text: str) -> None:
    with pytest.raises(NotACall):
        parse_value(text)


def test_calls_are_read_as_python_writes_them() -> None:
    assert parse_calls("[f(a=1, b='x, y)', c=[true, None]), g.h()]") == [
        ("f", {"a": 1, "b": "x, y)", "c": [True, None]}),
        ("g.h", {}),
    ]
    for text in ("f()", "[f(1)]", "[f(a)]", "[f(a=g())]", "[1]", "[f]", "[f() g()]", "[f(a=1]"):
        with pytest.raises(NotACall):
            parse_calls(text)


@given(st.text(alphabet="[](){}'\",:=abf1.- \\\n", max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_the_readers(text: str) -> None:
    for reader in (parse_value, parse_calls):
        try:
            json.dumps(reader(text), allow_nan=False)
        except NotACall:
            continue


PARAMETERS = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "size": {"type": "number"},
        "flag": {"type": "boolean"},
        "items": {"type": "array"},
        "maybe": {"type": ["string", "null"]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "named": {"$ref": "#/$defs/n"},
        "level": {"enum": [1, 2]},
        "open": {},
        "loop": {"$ref": "#/$defs/loop"},
        "odd": {"type": 3, "enum": 5, "anyOf": "x"},
    },
    "$defs": {"n": {"type": "integer"}, "loop": {"$ref": "#/$defs/loop"}},
}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "12", "12"),
        ("text", "true", "true"),
        ("text", " kept \n", " kept \n"),
        ("count", " 12\n", 12),
        ("count", "many", "many"),
        ("count", "1.5", "1.5"),
        ("size", "2", 2),
        ("size", "2.5", 2.5),
        ("flag", "True", True),
        ("flag", "false", False),
        ("flag", "yes", "yes"),
        ("items", "['a', 1]", ["a", 1]),
        ("items", "a, b", "a, b"),
        ("maybe", "null", None),
        ("maybe", "1", "1"),
        ("either", "3", 3),
        ("either", "three", "three"),
        ("named", "4", 4),
        ("level", "2", 2),
        ("open", '{"a": 1}', {"a": 1}),
        ("open", "007", "007"),
        ("open", "hello", "hello"),
        ("loop", "x", "x"),
        ("odd", "5", 5),
        ("unknown", "5", 5),
    ],
)
def test_bare_text_becomes_what_the_schema_says(name: str, text: str, value: object) -> None:
    found = typed(text, name, PARAMETERS)
    assert (found, type(found)) == (value, type(value))
