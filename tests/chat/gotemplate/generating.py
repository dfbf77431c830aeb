"""Random templates and data, most of them valid, for comparisons with Go and for tests that nothing breaks."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

TEXTS = ("a", "b\n", " ", "<x>", "é日", "", "'", "{ ", "\n\n", "}")
STRINGS = ("", "a", "b", "user", "tool", "日本", 'q"u', "<&>'", "line\nline", "\u2028", "\t\\", "x y+z=/")
# What can be asked for, by what dot is, and of which kind it is.
ROOT = {"a": "any", "b": "any", "c": "any", "list": "list", "map": "map", "n": "float", "f": "float", "t": "bool",
        "s": "string", "missing": "any"}  # fmt: skip
CHAT = {"Messages": "messages", "Tools": "tools", "System": "string", "Think": "bool", "ThinkLevel": "string"}
MESSAGE = {"Role": "string", "Content": "string", "Thinking": "string", "ToolCalls": "calls", "ToolName": "string"}
TOOL = {"Type": "string", "Function": "any", "Function.Name": "string", "Function.Description": "string",
        "Function.Parameters": "any", "Function.Parameters.Properties": "properties",
        "Function.Parameters.Required": "list", "Items": "any"}  # fmt: skip
CALL = {
    "ID": "string",
    "Function": "any",
    "Function.Name": "string",
    "Function.Arguments": "map",
    "Function.Index": "int",
}
PROPERTY = {"Type": "list", "Description": "string", "Enum": "list", "AnyOf": "list", "Items": "any",
            "ToTypeScriptType": "string"}  # fmt: skip
INSIDE = {"messages": MESSAGE, "tools": TOOL, "calls": CALL, "properties": PROPERTY}
LITERALS_OF = {
    "string": ('"a"', '"user"', '""', '"\\n\\t\\"\\x41\\u00e9"', "`raw \\n`", '"日本"'),
    "int": ("0", "1", "2", "-1", "007", "0x1F", "1_000", "'a'"),
    "float": ("1.5", "-2.25", "1e3", ".5", "0x1p4", "5."),
    "bool": ("true", "false"),
}
VERBS = ("v", "+v", "#v", "T", "s", "q", "+q", "#q", "d", "+d", "x", "X", "# x", "t", "c", "U", "#U", "e", "f",
         "g", "G", "b", "o", "O", "5d", "-5d|", "05d", ".2f", "8.3f", "-8.3f|", "+.1e", ".3g", "10s", "-10s|", ".1s",
         "6q", "z", "%", "[1]v", "[2]v", "*d", ".*f", "#g", "#x", " d", "08.2f", "!",
         "#.3g", "+x", "#o", "#b", "w", ".0f")  # fmt: skip
NUMBERS = ("0", "1", "2", "-1", "3", "007", "0x1F", "0b11", "0o17", "1_000", "1.5", "-2.25", "1e3", "1e21", ".5",
           "0x1p4", "'a'", "'\\n'", "'日'", "1i", "1+2i", "9223372036854775807", "1e-7", "5.",
           "0.1", "100000000.0")  # fmt: skip
PRINTING = ("print", "println", "html", "js", "urlquery")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


def data(random: Random, depth: int = 0) -> Any:
    """A JSON value; at the top an object with the fields that templates ask for."""
    if depth == 0:
        return {name: data(random, 1) for name in ROOT} | {
            "list": [data(random, 2) for _ in range(random.randrange(4))],
            "map": {name: data(random, 2) for name in random.sample("abcxyzé", random.randrange(4))},
            "n": random.choice((0, 1, 3, -2, 1e6, 123456789, 1e21)),
            "f": random.choice((0.5, -1.25, 1e-7, 3.0, 1e100, 0.1)),
            "t": random.random() < 0.5,
            "s": random.choice(STRINGS),
        }
    kind = random.randrange(8 if depth < 3 else 6)
    if kind == 6:
        return [data(random, depth + 1) for _ in range(random.randrange(3))]
    if kind == 7:
        return {random.choice("abc"): data(random, depth + 1) for _ in range(random.randrange(3))}
    if kind < 3:
        return random.choice(STRINGS)
    return random.choice((None, True, False, 0, 1, 2.5, -3, 1234567))


def messages(random: Random) -> list[dict[str, Any]]:
    """A conversation in Ollama's form, with neighbours of different roles."""
    turns: list[dict[str, Any]] = []
    for role in ("system", "user", "assistant", "tool", "assistant", "user")[random.randrange(3) :]:
        turn: dict[str, Any] = {"role": role, "content": random.choice(STRINGS)}
        if role == "assistant" and random.random() < 0.5:
            arguments = {name: data(random, 2) for name in random.sample("abcé", random.randrange(3))}
            turn["tool_calls"] = [{"id": "i1", "function": {"index": 0, "name": "f", "arguments": arguments}}]
        if role == "assistant" and random.random() < 0.5:
            turn["thinking"] = random.choice(STRINGS)
        if role == "tool":
            turn |= {"tool_name": "f", "tool_call_id": "i1"}
        turns.append(turn)
    return turns


def tools(random: Random) -> list[dict[str, Any]]:
    """Functions on offer."""
    offered = []
    for name in random.sample(("look_up", "add", "<f>"), random.randrange(3)):
        properties = {
            key: {"type": random.choice(("string", "integer", ["string", "null"], "array")), "description": "d<>"}
            | ({"enum": ["x", 1, None]} if random.random() < 0.3 else {})
            | ({"items": {"type": "string"}} if random.random() < 0.3 else {})
            | ({"anyOf": [{"type": "string"}, {"type": "object"}]} if random.random() < 0.2 else {})
            for key in random.sample(("place", "a", "b"), random.randrange(4))
        }
        parameters = {"type": "object", "properties": properties} | (
            {"required": ["a"]} if random.random() < 0.5 else {}
        )
        offered.append(
            {"type": "function", "function": {"name": name, "description": "does", "parameters": parameters}}
        )
    return offered


class Templates:
    """Writes templates. `fields` is what dot has at first; `noise` is how often something does not fit."""

    def __init__(self, random: Random, fields: dict[str, str], noise: float) -> None:
        self.random = random
        self.root = self.fields = fields
        self.noise = noise
        self.variables: list[str] = []
        self.loops = 0
        self.defined = 0

    def template(self) -> str:
        """A whole template, with definitions before it."""
        definitions = ""
        for _ in range(self.random.choice((0, 0, 0, 1, 2))):
            body, self.variables = self.inside({}, 2), []
            definitions += f'{{{{define "t{self.defined}"}}}}{body}{{{{end}}}}'
            self.defined += 1
        return definitions + self.body(0)

    def body(self, depth: int) -> str:
        mark = len(self.variables)
        written = "".join(self.node(depth) for _ in range(self.random.randrange(1, 5)))
        if depth:
            del self.variables[mark:]
        return written

    def inside(self, fields: dict[str, str], depth: int) -> str:
        """A body in which dot has these fields."""
        outer, self.fields = self.fields, fields
        written = self.body(depth)
        self.fields = outer
        return written

    def node(self, depth: int) -> str:
        chance = self.random.random()
        if self.random.random() < self.noise:
            return self.random.choice(
                ("{{", "}}", "{{end}}", "{{else}}", "{{ . | }}", "{{ $z }}", "{{ 1 2 }}", "{{ .a.b.c }}")
            )
        if chance < 0.3:
            return self.random.choice(TEXTS)
        if chance < 0.6 or depth > 3:
            return self.action(self.pipeline(depth))
        if chance < 0.7:
            return self.declaration(depth)
        if chance < 0.73 and self.loops:
            return self.action(self.random.choice(("break", "continue")))
        if chance < 0.76 and self.defined:
            return self.action(f'template "t{self.random.randrange(self.defined)}" {self.operand("any", depth)}')
        if chance < 0.78:
            return self.random.choice(("{{/* note */}}", "{{- /* note */ -}}"))
        return self.control(depth)

    def action(self, inside: str) -> str:
        opening, closing = self.random.choice(
            (("{{", "}}"), ("{{ ", " }}"), ("{{- ", " }}"), ("{{ ", " -}}"), ("{{- ", " -}}"))
        )
        return opening + inside + closing

    def declaration(self, depth: int) -> str:
        if self.variables and self.random.random() < 0.3:
            return self.action(f"{self.random.choice(self.variables)} = {self.pipeline(depth)}")
        pipeline = self.pipeline(depth)
        name = f"$v{len(self.variables)}"
        self.variables.append(name)
        return self.action(f"{name} := {pipeline}")

    def control(self, depth: int) -> str:
        mark = len(self.variables)
        word = self.random.choice(("if", "if", "with", "range", "range", "range"))
        if word == "range":
            written = self.loop(depth)
        else:
            head = self.pipeline(depth)
            body = self.body(depth + 1) if word == "if" else self.inside({}, depth + 1)
            written = self.action(f"{word} {head}") + body
        if word != "range" and self.random.random() < 0.3:
            written += self.action(f"else {word} {self.pipeline(depth)}") + self.body(depth + 1)
        if self.random.random() < 0.4:
            written += self.action("else") + self.body(depth + 1)
        del self.variables[mark:]
        return written + self.action("end")

    def loop(self, depth: int) -> str:
        """The head and the body of a `range`."""
        names = [name for name, kind in self.fields.items() if kind in ("list", "map", *INSIDE)]
        name = self.random.choice(names) if names and self.random.random() < 0.9 else ""
        head = f".{name}" if name else self.random.choice(("3", "nil", "(len `abc`)", '"text"', "(not 1)"))
        variables = [f"$v{len(self.variables) + at}" for at in range(self.random.choice((0, 0, 1, 2)))]
        self.variables += variables
        self.loops += 1
        body = self.inside(INSIDE.get(self.fields.get(name, ""), {}), depth + 1)
        self.loops -= 1
        return self.action(f"range {', '.join(variables)} := {head}" if variables else f"range {head}") + body

    def pipeline(self, depth: int) -> str:
        stages = [self.command(depth)]
        while self.random.random() < 0.15:
            stages.append(
                self.random.choice(
                    ("not", "print", "json", "html", "printf `%v`", "and 1", "or 0", "js", "printf `%5v|%q`")
                )
            )
        return " | ".join(stages)

    def command(self, depth: int) -> str:
        operand, random = self.operand, self.random
        kind = random.choice(("string", "int", "float"))
        choices: list[Callable[[], str]] = [
            lambda: operand("any", depth),
            lambda: operand("any", depth),
            lambda: f"{random.choice(COMPARISONS)} {operand(kind, depth)} {operand(kind, depth)}",
            lambda: f"eq {operand(kind, depth)} {operand(kind, depth)} {operand(kind, depth)}",
            lambda: f"{random.choice(('and', 'or'))} {operand('any', depth)} {operand('any', depth)}",
            lambda: f"{random.choice(('not', 'json'))} {operand('any', depth)}",
            lambda: f"len {operand(random.choice(('string', 'list', 'map')), depth)}",
            lambda: f"{random.choice(PRINTING)} {operand('any', depth)} {operand('any', depth)}",
            lambda: f"index {operand('map', depth)} {operand('string', depth)}",
            lambda: f"index {operand(random.choice(('list', 'string')), depth)} {random.randrange(2)}",
            lambda: f"slice {operand(random.choice(('list', 'string')), depth)} {random.randrange(2)}",
            lambda: f"slice {operand('string', depth)} {random.randrange(2)} {random.randrange(4)}",
            self.printf,
            lambda: "currentDate",
            lambda: f"toTypeScriptType {operand('any', depth)}",
        ]  # fmt: skip
        return random.choice(choices)()

    def printf(self) -> str:
        verbs = "".join("%" + self.random.choice(VERBS) for _ in range(self.random.randrange(1, 3)))
        operands = " ".join(self.operand("any", 4) for _ in range(self.random.randrange(3)))
        return f"printf `{verbs}` {operands}"

    def operand(self, kind: str, depth: int) -> str:
        """Something that is of the kind, mostly."""
        if self.random.random() < self.noise:
            kind = "any"
        chance = self.random.random()
        names = [f".{name}" for name, each in self.fields.items() if kind in ("any", each)]
        names += [f"$.{name}" for name, each in self.root.items() if kind in ("any", each) and not self.defining]
        if names and chance < 0.6:
            return self.random.choice(names)
        if kind == "any" and chance < 0.7:
            return self.random.choice([".", *self.variables])
        if kind == "any" and chance < 0.8 and depth < 4:
            return f"({self.pipeline(depth + 1)})"
        if kind == "any":
            return self.random.choice((*NUMBERS, "nil", *LITERALS_OF["string"], *LITERALS_OF["bool"]))
        return self.random.choice(LITERALS_OF.get(kind, LITERALS_OF["string"]))

    @property
    def defining(self) -> bool:
        """Whether `$` is something else here than the data."""
        return self.fields is not self.root and not self.loops


def case(seed: int, noise: float = 0.01) -> dict[str, Any]:
    """What the oracle is given: a template with JSON data, or with messages and tools."""
    random = Random(seed)
    if random.random() < 0.6:
        return {"template": Templates(random, ROOT, noise).template(), "data": data(random)}
    template = Templates(random, CHAT, noise).template()
    return {"template": template, "messages": messages(random), "tools": tools(random)}
