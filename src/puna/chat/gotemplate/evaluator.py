"""Executes a parsed template. Knows the language, not what its data mean.

Source: Go's text/template documentation; where it leaves a question open, what its evaluator does. Two kinds of
nothing are told apart as there: a nil in a map or a list (None), of which no field can be asked, and no value at
all, of which every field is no value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from puna.chat.gotemplate import printing, values
from puna.chat.gotemplate.budget import STEP, Budget
from puna.chat.gotemplate.comparing import CannotCompare
from puna.chat.gotemplate.functions import SHORT_CIRCUIT, Builtin, CallError
from puna.chat.gotemplate.lexer import error
from puna.chat.gotemplate.nodes import (
    ROOT,
    Action,
    Branch,
    Break,
    Call,
    Chain,
    Command,
    Continue,
    Dot,
    Field,
    Function,
    If,
    Literal,
    Nil,
    Node,
    Nodes,
    Operand,
    Pipeline,
    Range,
    Templates,
    Text,
    Variable,
    With,
)
from puna.chat.gotemplate.values import NO_VALUE, Byte, Map, Slice, Struct, truth, type_name


def execute(templates: Templates, functions: Mapping[str, Builtin], data: object, budget: Budget) -> str:
    """What the template ROOT writes of `data`. Raises TemplateError, with the line, when it fails or is stopped."""
    evaluator = _Evaluator(templates, functions, budget)
    evaluator.template(ROOT, data)
    return "".join(evaluator.written)


class _Break(Exception):
    """`{{break}}`."""


class _Continue(Exception):
    """`{{continue}}`."""


class _Nothing:
    """That no value comes through the pipeline."""


_NOTHING = _Nothing()


class _Scope:
    """The variables of one template, the last declared last."""

    __slots__ = ("_variables",)

    def __init__(self, data: object) -> None:
        self._variables: list[tuple[str, object]] = [("$", data)]

    def mark(self) -> int:
        return len(self._variables)

    def reset(self, mark: int) -> None:
        del self._variables[mark:]

    def declare(self, name: str, value: object) -> None:
        self._variables.append((name, value))

    def assign(self, name: str, value: object, line: int) -> None:
        self._variables[self._find(name, line)] = (name, value)

    def value(self, name: str, line: int) -> object:
        return self._variables[self._find(name, line)][1]

    def _find(self, name: str, line: int) -> int:
        for at in range(len(self._variables) - 1, -1, -1):
            if self._variables[at][0] == name:
                return at
        raise error(line, f"undefined variable: {name}")


class _Evaluator:
    def __init__(self, templates: Templates, functions: Mapping[str, Builtin], budget: Budget) -> None:
        self.written: list[str] = []
        self._templates = templates
        self._functions = functions
        self._budget = budget
        self._scope = _Scope(NO_VALUE)

    # Nodes.

    def template(self, name: str, data: object) -> None:
        outer, self._scope = self._scope, _Scope(data)
        self._nodes(self._templates[name], data)
        self._scope = outer

    def _nodes(self, nodes: Nodes, dot: object) -> None:
        self._budget.enter()
        self._budget.spend(0)
        for node in nodes:
            self._node(node, dot)
        self._budget.leave()

    def _node(self, node: Node, dot: object) -> None:
        match node:
            case Text(text):
                self._write(text)
            case Action(pipeline):
                value = self._pipeline(pipeline, dot)
                if not pipeline.variables:
                    self._write(printing.sprint([printing.printable(value)], self._budget.spend))
            case If(branches, otherwise) | With(branches, otherwise):
                self._branches(branches, otherwise, dot, sets_dot=isinstance(node, With))
            case Range():
                self._range(node, dot)
            case Call():
                self._call(node, dot)
            case Break():
                raise _Break
            case Continue():
                raise _Continue

    def _write(self, text: str) -> None:
        self._budget.spend(len(text))
        self.written.append(text)

    def _branches(self, branches: Sequence[Branch], otherwise: Nodes, dot: object, *, sets_dot: bool) -> None:
        mark = self._scope.mark()
        for branch in branches:
            value = self._pipeline(branch.pipeline, dot)
            if truth(value):
                self._nodes(branch.body, value if sets_dot else dot)
                break
        else:
            self._nodes(otherwise, dot)
        self._scope.reset(mark)

    def _range(self, node: Range, dot: object) -> None:
        outer = self._scope.mark()
        pairs = self._pairs(self._pipeline(node.pipeline, dot), node.pipeline)
        inner = self._scope.mark()
        depth = self._budget.depth
        empty = True
        try:
            for index, item in pairs:
                empty = False
                self._budget.spend(0)
                self._set_loop_variables(node.pipeline, index, item, inner)
                try:
                    self._nodes(node.body, item)
                except _Continue:
                    self._budget.depth = depth
                self._scope.reset(inner)
            if empty:
                self._nodes(node.otherwise, dot)  # where Go lets a break end this loop, not the one around it
        except _Break:
            self._budget.depth = depth
        self._scope.reset(outer)

    def _pairs(self, value: object, pipeline: Pipeline) -> Iterable[tuple[object, object]]:
        """Indices or keys, and items."""
        if isinstance(value, Slice):
            items = value.items or ()
            return enumerate(map(Byte, items)) if isinstance(items, bytes) else enumerate(items)
        if isinstance(value, Map):
            return value.entries()
        if value is NO_VALUE:
            return ()
        if isinstance(value, int) and not isinstance(value, bool):
            if len(pipeline.variables) > 1:
                raise error(pipeline.line, f"can't use {value} to iterate over more than one variable")
            return ((NO_VALUE, type(value)(count)) for count in range(value))
        raise error(pipeline.line, f"range can't iterate over {type_name(value)}")

    def _set_loop_variables(self, pipeline: Pipeline, index: object, item: object, top: int) -> None:
        """Two variables are the index and the item, one is the item."""
        names = pipeline.variables
        if pipeline.assigns:
            for name, value in zip(names, (index, item) if len(names) > 1 else (item,), strict=True):
                self._scope.assign(name, value, pipeline.line)
        elif names:
            self._scope.reset(top - len(names))
            for name, value in zip(names, (index, item) if len(names) > 1 else (item,), strict=True):
                self._scope.declare(name, value)

    def _call(self, node: Call, dot: object) -> None:
        if node.name not in self._templates:
            raise error(node.line, f"template {node.name!r} not defined")
        data = NO_VALUE if node.pipeline is None else self._pipeline(node.pipeline, dot)
        self._budget.line = node.line
        self._budget.spend(8 * STEP)
        self.template(node.name, data)

    # Values.

    def _pipeline(self, pipeline: Pipeline, dot: object) -> object:
        self._budget.line = pipeline.line
        self._budget.enter()
        value: object = _NOTHING
        for command in pipeline.commands:
            self._budget.spend(0)
            value = self._command(command, dot, value)
            if value is None:
                value = NO_VALUE
        for name in pipeline.variables:
            if pipeline.assigns:
                self._scope.assign(name, value, pipeline.line)
            else:
                self._scope.declare(name, value)
        self._budget.leave()
        return value

    def _command(self, command: Command, dot: object, last: object) -> object:
        """`last` is what came through the pipeline: the last argument."""
        first = command.first
        if isinstance(first, Function):
            return self._function(first, command.arguments, dot, last)
        if isinstance(first, Nil):
            raise error(first.line, "nil is not a command")
        if command.arguments or last is not _NOTHING:
            raise error(first.line, "can't give arguments to what is not a function")
        return self._operand(first, dot)

    def _operand(self, operand: Operand, dot: object) -> object:
        match operand:
            case Literal(value):
                return value
            case Field(names, line):
                return self._follow(dot, names, line)
            case Variable(name, names, line):
                return self._follow(self._scope.value(name, line), names, line)
            case Dot():
                return dot
            case Pipeline():
                return self._pipeline(operand, dot)
            case Chain(start, names, line):
                return self._follow(self._operand(start, dot), names, line)
            case Function():
                return self._function(operand, (), dot, _NOTHING)
        return NO_VALUE  # nil

    def _follow(self, value: object, names: Sequence[str], line: int) -> object:
        """The value of `.A.B` of a value."""
        for name in names:
            value = self._field(value, name, line)
        return value

    def _field(self, value: object, name: str, line: int) -> object:
        if value is NO_VALUE:
            return NO_VALUE
        if value is None:
            raise error(line, f"nil pointer evaluating .{name}")
        if method := values.method(value, name):
            return method(value)
        if isinstance(value, Map):
            return (value.items or {}).get(name, value.type.zero)
        if isinstance(value, Struct):
            try:
                return value.get(name)
            except KeyError:
                pass
        raise error(line, f"can't evaluate field {name} in type {type_name(value)}")

    def _function(self, function: Function, operands: Sequence[Operand], dot: object, last: object) -> object:
        builtin = self._functions[function.name]
        count = len(operands) + (last is not _NOTHING)
        if count < builtin.least or (builtin.most is not None and count > builtin.most):
            least = "" if builtin.most == builtin.least else "at least "
            raise error(function.line, f"wrong number of args for {function.name}: want {least}{builtin.least}")
        self._budget.spend(8 * count)
        stops_at = SHORT_CIRCUIT.get(function.name)
        arguments: list[object] = []
        for operand in operands:
            arguments.append(self._operand(operand, dot))
            if stops_at is not None and truth(arguments[-1]) == stops_at:
                return arguments[-1]
        if last is not _NOTHING:
            arguments.append(last)
        self._budget.line = function.line
        try:
            return builtin.call(arguments, self._budget)
        except (CallError, CannotCompare) as wrong:
            raise error(function.line, f"error calling {function.name}: {wrong}") from None
