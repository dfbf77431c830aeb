"""A Go template under Ollama's rules: which values it is given, and how one that knows of no messages gets its rounds.

Source: Ollama's template package. Knows nothing of models, tokens or Jinja.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from puna.chat.gotemplate.budget import Budget
from puna.chat.gotemplate.data import Json, messages_value, tools_value
from puna.chat.gotemplate.evaluator import execute
from puna.chat.gotemplate.functions import functions
from puna.chat.gotemplate.nodes import (
    ROOT,
    Action,
    Branch,
    Call,
    Command,
    Field,
    If,
    Node,
    Nodes,
    Operand,
    Pipeline,
    Range,
    Templates,
    Variable,
    With,
)
from puna.chat.gotemplate.parser import parse
from puna.chat.gotemplate.text import given, shown
from puna.chat.gotemplate.values import ANY_MAP, Map, weight
from puna.chat.messages import Think
from puna.errors import TemplateError

_RESPONSE = "Response"


class GoTemplate:
    """One parsed template. Thread-safe."""

    def __init__(self, source: str, *, now: Callable[[], datetime] = datetime.now) -> None:
        """Raises `TemplateError`, with the line, for a text that is not a template. `now` gives the local time."""
        self._functions = functions(now)
        self._templates = parse(given(source), self._functions)
        self._names = frozenset(_names(self._templates))
        if not self.mentions("Messages") and not self.mentions(_RESPONSE):
            response = Action(Pipeline((Command(Field((_RESPONSE,), 1), ()),), 1))
            self._templates[ROOT] = (*self._templates[ROOT], response)
        self._begun: Templates = {**self._templates, ROOT: _up_to_response(self._templates[ROOT])[0]}

    def mentions(self, name: str) -> bool:
        """Whether the template reads a value of that name (`Tools`, `Suffix`, ...), whatever its case."""
        return name.lower() in self._names

    def render(
        self, messages: Sequence[Json], *, tools: Sequence[Json] | None = None, think: Think | None = None
    ) -> str:
        """The prompt for messages as Ollama's API writes them; the answer goes on where it ends.

        Raises `TemplateError` when the template fails, or asks for too much time or memory.
        """
        try:
            return shown(self._render(messages, tools, think))
        except RecursionError:
            raise TemplateError("the messages or tools are nested too deeply for a Go template") from None

    def _render(self, messages: Sequence[Json], tools: Sequence[Json] | None, think: Think | None) -> str:
        collated = _collated(messages)
        if not self.mentions("Messages"):
            return self._by_rounds(collated, think)
        system = "\n\n".join(_content(message) for message in messages if message.get("role") == "system")
        values = {"System": system, "Messages": messages_value(collated), "Tools": tools_value(tools), _RESPONSE: ""}
        return self._execute(_data(values, think))

    def render_infill(self, before: str, after: str, *, think: Think | None = None) -> str:
        """The prompt for what stands between two texts."""
        values = {"Prompt": given(before), "Suffix": given(after), _RESPONSE: ""}
        return shown(self._execute(_data(values, think)))

    def _by_rounds(self, messages: Sequence[Json], think: Think | None) -> str:
        """The template once for each round; of the last, only what comes before the end of the answer."""
        *whole, last = (_data(each, think) for each in _rounds(messages))
        budget = Budget(sum(map(weight, [*whole, last])))
        texts = [execute(self._templates, self._functions, each, budget) for each in whole]
        return "".join([*texts, execute(self._begun, self._functions, last, budget)])

    def _execute(self, data: Map) -> str:
        return execute(self._templates, self._functions, data, Budget(weight(data)))


def _data(values: Mapping[str, object], think: Think | None) -> Map:
    level = think if isinstance(think, str) else "medium" if think else ""
    return Map(ANY_MAP, {**values, "Think": bool(think), "ThinkLevel": level, "IsThinkSet": think is not None})


def _content(message: Json) -> str:
    content = message.get("content")
    return given(content) if isinstance(content, str) else ""


def _collated(messages: Sequence[Json]) -> list[Json]:
    """Neighbours of one role made one, a blank line between their texts; results of tools stay apart."""
    collated: list[Json] = []
    for message in messages:
        if collated and collated[-1].get("role") == message.get("role") != "tool":
            collated[-1] = {**collated[-1], "content": f"{_content(collated[-1])}\n\n{_content(message)}"}
        else:
            collated.append(message)
    return collated


def _rounds(messages: Sequence[Json]) -> Iterator[dict[str, object]]:
    """What the template is given for each round; the last may be empty. Results of tools are in none."""
    system = prompt = response = ""
    for message in messages:
        role, content = message.get("role"), _content(message)
        ends = response if role == "user" else prompt or response if role == "system" else ""
        if ends:
            yield {"System": system, "Prompt": prompt, _RESPONSE: response}
            system = prompt = response = ""
        if role == "system":
            system = content
        elif role == "user":
            prompt = content
        elif role == "assistant":
            response = content
    yield {"System": system, "Prompt": prompt, _RESPONSE: response}


# What a template mentions.


def _names(templates: Templates) -> Iterator[str]:
    for nodes in templates.values():
        for node in nodes:
            yield from _names_in(node)


def _names_in(node: Node) -> Iterator[str]:
    """In lower case."""
    pipelines: list[Pipeline | None] = []
    inner: list[Nodes] = []
    match node:
        case Action(pipeline) | Call(_, pipeline):
            pipelines = [pipeline]
        case Range(pipeline, body, otherwise):
            pipelines, inner = [pipeline], [body, otherwise]
        case If(branches, otherwise) | With(branches, otherwise):
            pipelines = [branch.pipeline for branch in branches]
            inner = [*(branch.body for branch in branches), otherwise]
    for each in pipelines:
        if each is not None:
            yield from _names_of(each)
    for nodes in inner:
        for child in nodes:
            yield from _names_in(child)


def _names_of(pipeline: Pipeline) -> Iterator[str]:
    for command in pipeline.commands:
        for operand in (command.first, *command.arguments):
            match operand:
                case Field(names) | Variable(_, names):
                    yield from (name.lower() for name in names)
                case Pipeline():
                    yield from _names_of(operand)


# The template of a round that has not ended.


def _up_to_response(nodes: Nodes) -> tuple[Nodes, bool]:
    """The nodes up to the first that writes `.Response`, which stays, and whether there is one."""
    kept: list[Node] = []
    for node in nodes:
        begun, found = _begun(node)
        kept.append(begun)
        if found:
            return tuple(kept), True
    return tuple(kept), False


def _begun(node: Node) -> tuple[Node, bool]:
    match node:
        case Action(pipeline):
            begun, found = _begun_pipeline(pipeline)
            return replace(node, pipeline=begun), found
        case Range(_, body, otherwise):
            bodies, found = _begun_bodies([body, otherwise])
            return replace(node, body=bodies[0], otherwise=bodies[1]), found
        case If(branches, otherwise) | With(branches, otherwise):
            bodies, found = _begun_bodies([*(branch.body for branch in branches), otherwise])
            kept = tuple(Branch(branch.pipeline, body) for branch, body in zip(branches, bodies, strict=False))
            return replace(node, branches=kept, otherwise=bodies[-1]), found
    return node, False


def _begun_bodies(bodies: Sequence[Nodes]) -> tuple[list[Nodes], bool]:
    """Bodies after the one that writes the response are empty."""
    kept: list[Nodes] = []
    cut = False
    for body in bodies:
        nodes, found = ((), False) if cut else _up_to_response(body)
        kept.append(nodes)
        cut = cut or found
    return kept, cut


def _begun_pipeline(pipeline: Pipeline) -> tuple[Pipeline, bool]:
    """Without the arguments that come after the response."""
    for count, command in enumerate(pipeline.commands):
        operands: list[Operand] = [command.first, *command.arguments]
        for at, operand in enumerate(operands):
            inner, found = (
                _begun_pipeline(operand) if isinstance(operand, Pipeline) else (operand, _is_response(operand))
            )
            if found:
                first, *arguments = [*operands[:at], inner]
                last = replace(command, first=first, arguments=tuple(arguments))
                return replace(pipeline, commands=(*pipeline.commands[:count], last)), True
    return pipeline, False


def _is_response(operand: Operand) -> bool:
    return isinstance(operand, Field) and _RESPONSE in operand.names
