"""Hostile templates: each ends in a TemplateError with its reason, in bounded time and memory."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from puna.chat.meter import MAX_BYTES, MAX_SECONDS
from puna.chat.sandbox import Sandbox
from puna.errors import TemplateError

TOO_MUCH = "asked for more than 256 MiB"
TOO_MANY = "a value of more than 200000 parts"
WIDTH = "has a width above 9999"


def nested(name: str, pair: str = "[{0}, {0}]", seed: str = "['lol']") -> str:
    """A value of 2**100 parts, in 100 lists that share theirs."""
    value = pair.format(f"ns.{name}")
    return f"{{% set ns.{name} = {seed} %}}{{% for i in range(100) %}}{{% set ns.{name} = {value} %}}{{% endfor %}}"


def doubled(operation: str, seed: str) -> str:
    return f"{{% set ns.x = {seed} %}}{{% for i in range(100) %}}{{% set ns.x = {operation} %}}{{% endfor %}}"


NS = "{% set ns = namespace() %}"
LAUGH = NS + nested("x") + nested("y")
HASH = NS + nested("x", "({0}, {0})", "('lol',)")
BIG = NS + "{% set big = 'a' * 1000000 %}{% set ns.l = [] %}{% for i in range(100000) %}"

EXPENSIVE = {
    "text times a number": ("{{ 'a' * 10**10 }}", TOO_MUCH),
    "number times text": ("{{ 10**10 * 'a' }}", TOO_MUCH),
    "list times a number": ("{{ ([1] * 10**10)|length }}", TOO_MUCH),
    "text doubled by ~": (NS + doubled("ns.x ~ ns.x", "'abcd'"), TOO_MUCH),
    "text doubled by +": (NS + doubled("ns.x + ns.x", "'abcd'"), TOO_MUCH),
    "list doubled": (NS + doubled("ns.x + ns.x", "[1]"), TOO_MUCH),
    "number squared": (NS + doubled("ns.x * ns.x", "10"), "an integer of"),
    "number to a power": ("{{ 10 ** (10 ** 10) }}", "an integer of"),
    "power of text's length": ("{% set x = 2 ** 10000 %}", "an integer of"),
    "range": ("{% for i in range(10**9) %}x{% endfor %}", "Range too big"),
    "printed": (LAUGH + "{{ ns.x }}", TOO_MANY),
    "printed namespace": (LAUGH + "{{ ns }}", TOO_MANY),
    "namespace in itself": (NS + "{% set ns.x = ns %}{{ ns }}", TOO_MANY),
    "printed view": (LAUGH + "{{ {'a': ns.x}.items() }}", TOO_MANY),
    "json": (LAUGH + "{{ ns.x|tojson }}", TOO_MANY),
    "json with indent": (LAUGH + "{{ ns.x|tojson(indent=2) }}", TOO_MANY),
    "json, mapped": (LAUGH + "{{ [ns.x]|map('tojson')|join }}", TOO_MANY),
    "string": (LAUGH + "{% set z = ns.x|string %}", TOO_MANY),
    "safe": (LAUGH + "{% set z = ns.x|safe %}", TOO_MANY),
    "joined by ~": (LAUGH + "{% set z = ns.x ~ '' %}", TOO_MANY),
    "equal": (LAUGH + "{{ ns.x == ns.y }}", TOO_MANY),
    "equal in a chain": (LAUGH + "{{ ns.x == ns.y == ns.x }}", TOO_MANY),
    "equal views": (LAUGH + "{{ {'a': ns.x}.items() == {'a': ns.y}.items() }}", TOO_MANY),
    "in": (LAUGH + "{{ ns.x in [ns.y] }}", TOO_MANY),
    "equal by a test": (LAUGH + "{{ ns.x is eq(ns.y) }}", TOO_MANY),
    "equal by select": (LAUGH + "{{ [ns.x]|select('eq', ns.y)|list }}", TOO_MANY),
    "index": (LAUGH + "{{ [ns.x].index(ns.y) }}", TOO_MANY),
    "sort": (LAUGH + "{{ [ns.x, ns.y]|sort }}", TOO_MANY),
    "min": (LAUGH + "{{ [ns.x, ns.y]|min }}", TOO_MANY),
    "changed": (LAUGH + "{% for z in [ns.x, ns.y] %}{{ loop.changed(z) }}{% endfor %}", TOO_MANY),
    "hash of a key": (HASH + "{% set z = {ns.x: 1} %}", TOO_MANY),
    "hash of an index": (HASH + "{{ {'a': 1}[ns.x] }}", TOO_MANY),
    "hash in get": (HASH + "{{ {'a': 1}.get(ns.x) }}", TOO_MANY),
    "hash in dict()": (HASH + "{{ dict([(ns.x, 1)]) }}", TOO_MANY),
    "hash in namespace()": (HASH + "{{ namespace([(ns.x, 1)]) }}", TOO_MANY),
    "hash in unique": (HASH + "{{ [ns.x]|unique|list }}", TOO_MANY),
    "hash in groupby": (HASH + "{{ [{'k': ns.x}]|groupby('k') }}", TOO_MANY),
    "hash in in": (HASH + "{{ ns.x in {'a': 1} }}", TOO_MANY),
    "name of an attribute": (HASH + "{{ {'a': 1}|attr(ns.x) }}", TOO_MANY),
    "percent": (LAUGH + "{{ '%s' % (ns.x,) }}", TOO_MANY),
    "braces": (LAUGH + "{{ '{}'.format(ns.x) }}", TOO_MANY),
    "exception": (LAUGH + "{{ raise_exception(ns.x) }}", TOO_MANY),
    "deep": (NS + doubled("[ns.x]", "[]").replace("100", "100000") + "{{ ns.x|tojson }}", "recursion"),
    "join of one text": ("{{ ''.join(['b' * 1000000] * 100000) }}", TOO_MUCH),
    "join by a long text": ("{{ ('b' * 1000000).join([''] * 100000) }}", TOO_MUCH),
    "join filter by a long text": ("{{ ([''] * 100000)|join('b' * 1000000) }}", TOO_MUCH),
    "join of attributes": ("{{ ([{'a': 'b' * 100000}] * 50000)|map(attribute='a')|join }}", TOO_MUCH),
    "replace": ("{{ ('a' * 100000).replace('a', 'b' * 100000) }}", TOO_MUCH),
    "replace nothing": ("{{ ('a' * 100000).replace('', 'b' * 100000) }}", TOO_MUCH),
    "replace filter": ("{{ ('a' * 100000)|replace('a', 'b' * 100000) }}", TOO_MUCH),
    "center": ("{{ 'a'|center(10**10) }}", TOO_MUCH),
    "ljust": ("{{ 'a'.ljust(10**10) }}", TOO_MUCH),
    "zfill": ("{{ 'a'.zfill(10**10) }}", TOO_MUCH),
    "tabs": ("{{ ('\\t' * 1000).expandtabs(10**8) }}", TOO_MUCH),
    "indent": ("{{ 'a\\nb'|indent(10**9) }}", TOO_MUCH),
    "percent width": ("{{ '%1000000000d' % 1 }}", WIDTH),
    "percent width of data": ("{{ '%*d' % (10**9, 1) }}", WIDTH),
    "percent precision": ("{{ '%.1000000000f'|format(1) }}", WIDTH),
    "percent, many": ("{{ ('%9999d' * 100000) % ((1,) * 100000) }}", TOO_MUCH),
    "brace width": ("{{ '{:1000000000}'.format(1) }}", WIDTH),
    "brace width of data": ("{{ '{:{}}'.format(1, 10**9) }}", WIDTH),
    "brace width in a map": ("{{ '{a:{b}}'.format_map({'a': 1, 'b': 10**9}) }}", WIDTH),
    "brace, many": ("{{ ('{0}' * 100000).format('a' * 1000000) }}", TOO_MUCH),
    "json indent": ("{{ {'a': 1}|tojson(indent=10**9) }}", "indent or separator above 64"),
    "json separator": ("{{ [1, 2]|tojson(separators=('x' * 1000000, ':')) }}", "indent or separator above 64"),
    "time format": ("{{ strftime_now('%1000000000d') }}", "a time format has at most"),
    "long time format": ("{{ strftime_now('%Y' * 1000) }}", "a time format has at most"),
    "batch": ("{{ [1]|batch(10**9, 'x')|list }}", TOO_MUCH),
    "slice": ("{{ [1]|slice(slices=10**9)|list }}", TOO_MUCH),
    "characters": ("{{ ('ab' * 10000000)|list }}", TOO_MUCH),
    "split": ("{{ ('a ' * 10000000).split() }}", TOO_MUCH),
    "split at": ("{{ ('ab' * 10000000).split('a') }}", TOO_MUCH),
    "lines": ("{{ ('\\n' * 10000000).splitlines() }}", TOO_MUCH),
    "sum of lists": ("{{ ([[1]] * 100000)|sum(start=[]) }}", "sums values that are not numbers"),
    "round": ("{{ 1|round(10**9, 'ceil') }}", "rounds to"),
    "bytes": ("{{ (1).to_bytes(10**9, 'big') }}", "cannot call int.to_bytes"),
    "encode": ("{{ 'a'.encode() }}", "cannot call str.encode"),
    "kept slices": (BIG + "{% set ns.l = [ns.l, big[1:]] %}{% endfor %}", TOO_MUCH),
    "kept copies": (BIG + "{% set ns.l = [ns.l, big.upper()] %}{% endfor %}", TOO_MUCH),
    "kept filtered copies": (BIG + "{% set ns.l = [ns.l, big|upper] %}{% endfor %}", TOO_MUCH),
    "kept blocks": (BIG + "{% set z %}{{ big }}{% endset %}{% set ns.l = [ns.l, z] %}{% endfor %}", TOO_MUCH),
    "kept fixed text": (
        BIG + "{% set z %}" + "z" * 50000 + "{% endset %}{% set ns.l = [ns.l, z] %}{% endfor %}",
        TOO_MUCH,
    ),
    "fixed text of a macro": (
        "{% macro m() %}" + "z" * 50000 + "{% endmacro %}" + BIG + "{% set ns.l = [ns.l, m()] %}{% endfor %}",
        TOO_MUCH,
    ),
    "fixed lists": (BIG + "{% set ns.l = [ns.l, [" + "1," * 20000 + "]] %}{% endfor %}", TOO_MUCH),
    "folded constants": (BIG + "{% set ns.l = [ns.l, '" + "z" * 50000 + "'|list] %}{% endfor %}", TOO_MUCH),
    "arguments": (
        "{% macro m() %}{{ varargs[0] }}{% endmacro %}{% for i in range(100000) %}{{ m(*([1] * 100000)) }}{% endfor %}",
        TOO_MUCH,
    ),
    "macro in itself": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
    "block in itself": ("{% block a %}{{ self.a() }}{% endblock %}", "recursion"),
    "loop in itself": ("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recursion"),
    "autoescape": ("{% autoescape true %}{{ '<' * 1000000000 }}{% endautoescape %}", TOO_MUCH),
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_an_expensive_template_is_stopped(name: str) -> None:
    source, reason = EXPENSIVE[name]
    began = time.thread_time()
    with pytest.raises(TemplateError, match=reason):
        Sandbox(source).render({})
    assert time.thread_time() - began < MAX_SECONDS


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(100000) if b < 0 %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    ],
    ids=["loops", "filtered loops", "macros"],
)
def test_endless_work_without_output_is_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("puna.chat.meter.MAX_SECONDS", 0.2)
    with pytest.raises(TemplateError, match=r"took more than 0\.2 s"):
        Sandbox(source).render({})
    monkeypatch.setattr("puna.chat.meter.MAX_BYTES", MAX_BYTES // 100)
    monkeypatch.setattr("puna.chat.meter.MAX_SECONDS", 60)
    with pytest.raises(TemplateError, match="asked for more than 2 MiB"):
        Sandbox(source).render({})


@pytest.mark.parametrize("name", ["kept slices", "text doubled by ~", "list doubled", "kept copies", "split"])
def test_memory_stays_near_the_budget(name: str) -> None:
    source, _ = EXPENSIVE[name]
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError):
            Sandbox(source).render({})
        assert tracemalloc.get_traced_memory()[1] < 1.5 * MAX_BYTES
    finally:
        tracemalloc.stop()


ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ (''|attr('__class__')).mro() }}",
    "{{ ['']|map(attribute='__class__')|map('attr', 'mro')|list|tojson }}",
    "{{ '{0.__class__.__mro__}'.format(1).x.y }}",
    "{{ raise_exception.__globals__.x }}",
    "{{ raise_exception._function('x').y }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ cycler.mro() }}",
    "{{ namespace.__init__.__globals__.x }}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{{ namespace(__class__=1) }}",
    "{{ dict.mro() }}",
    "{{ dict.fromkeys([1]) }}",
    "{{ {}.fromkeys([1]) }}",
    "{{ environment.filters }}",
    "{{ self._TemplateReference__context.environment }}",
    "{% for i in [1] %}{{ loop._iterator.x }}{{ loop.__class__.mro() }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{{ ([1]|map('upper')).gi_frame.f_globals }}",
    "{{ lipsum(n=10) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'x' %}",
    "{{ messages.append(1) }}",
    "{{ messages.pop() }}",
    "{{ messages[0].update({'role': 'x'}) }}",
    "{{ messages() }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_the_sandbox_has_no_way_out(source: str) -> None:
    data: dict[str, object] = {"messages": [{"role": "user"}]}
    with pytest.raises(TemplateError):
        Sandbox(source).render(data)
    assert data == {"messages": [{"role": "user"}]}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("a\n{% if x %}\n{{ x }\n", "line 3: unexpected '}'"),
        ("\n{% for x in y %}", "line 2: Unexpected end of template"),
        ("\n\n{{ x|nope }}", "line 3: No filter named 'nope'"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "recursion"),
        ("{{ " + "1+" * 20000 + "1 }}", "recursion"),
        ("{{ " + "9" * 10000 + " }}", "4300 digits"),
        ("{% for x in y %}" * 150 + "{% endfor %}" * 150, "too many"),
        ("x" * (1 << 20), "has 1048576 characters"),
        ("{#" * 30000, "Missing end of comment"),
    ],
)
def test_a_template_that_does_not_compile_says_where(source: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason):
        Sandbox(source)


def test_an_error_while_rendering_has_its_line() -> None:
    with pytest.raises(TemplateError, match="failed at line 3: 'missing' is undefined"):
        Sandbox("{% macro m() %}\n{% set y = 1 %}\n{{ missing.x }}\n{% endmacro %}\n{{ m() }}").render({})


def test_a_long_chat_is_not_mistaken_for_an_attack() -> None:
    adding = "{% for m in messages %}{% set ns.text = ns.text ~ m %}{% endfor %}"
    source = "{% set ns = namespace(text='') %}" + adding + "{{ ns.text }}"
    messages = ["话" * 1000] * 1000
    assert Sandbox(source).render({"messages": messages}) == "".join(messages)


def test_a_stopped_template_can_be_rendered_again() -> None:
    sandbox = Sandbox("{{ 'a' * n }}")
    with pytest.raises(TemplateError):
        sandbox.render({"n": 1 << 40})
    assert sandbox.render({"n": 3}) == "aaa"
