"""Tokens to templates. Knows nothing of values.

Source: Go's text/template documentation; where it leaves a question open, what its parser does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from puna.chat.gotemplate import literals
from puna.chat.gotemplate.lexer import Kind, Token, error, tokens
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
from puna.errors import TemplateError

MAX_SOURCE = 64 << 10
"""Characters of a template; the largest known has 20,000."""

MAX_NESTING = 50
"""Blocks and parentheses inside each other."""


def parse(source: str, functions: Collection[str]) -> Templates:
    """All templates of the text by name; ROOT is the text itself. Raises TemplateError, with the line."""
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"the Go template has {len(source)} characters, more than {MAX_SOURCE}")
    templates: Templates = {}
    root = _Parser(_Stream(source), functions, templates).root()
    _define(templates, ROOT, root, 1)
    return templates


class _Stream:
    """The tokens, with as much look-ahead as is asked for."""

    def __init__(self, source: str) -> None:
        self._tokens = tokens(source)
        self._ahead: list[Token] = []
        self.depth = 0

    def peek(self, further: int = 0) -> Token:
        while len(self._ahead) <= further:
            self._ahead.append(next(self._tokens, Token("end of text", "", 0)))
        return self._ahead[further]

    def next(self) -> Token:
        token = self.peek()
        del self._ahead[0]
        return token

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise error(self.peek().line, f"more than {MAX_NESTING} blocks and parentheses inside each other")


def _define(templates: Templates, name: str, nodes: Nodes, line: int) -> None:
    """A template of nothing but space neither replaces another nor stands in the way of one."""
    if name in templates and not _empty(templates[name]):
        if not _empty(nodes):
            raise error(line, f"multiple definition of template {name!r}")
        return
    templates[name] = nodes


def _empty(nodes: Nodes) -> bool:
    return all(isinstance(node, Text) and not node.text.strip() for node in nodes)


class _Parser:
    """Parses one template; a `define` or `block` in it gets a parser of its own, for it shares no variables."""

    def __init__(self, stream: _Stream, functions: Collection[str], templates: Templates) -> None:
        self._stream = stream
        self._functions = functions
        self._templates = templates
        self._variables = ["$"]
        self._ranges = 0

    def root(self) -> Nodes:
        nodes: list[Node] = []
        while self._stream.peek().kind != "end of text":
            if self._stream.peek().kind == "open" and self._is_keyword(self._stream.peek(1), "define"):
                self._definition()
            elif self._at_control("end", "else"):
                raise error(self._stream.peek(1).line, f"unexpected {{{{{self._stream.peek(1).text}}}}}")
            else:
                nodes.append(self._node())
        return tuple(nodes)

    def _definition(self) -> None:
        self._stream.next()
        line = self._stream.next().line
        name = self._name("define clause")
        self._expect("close", "define clause")
        self._define(name, line)

    def _define(self, name: str, line: int) -> None:
        inner = _Parser(self._stream, self._functions, self._templates)
        body = inner._body()
        inner._end("define clause")
        _define(self._templates, name, body, line)

    # Nodes.

    def _body(self) -> Nodes:
        """Nodes up to `end` or `else`, which is left to read."""
        self._stream.enter()
        nodes: list[Node] = []
        while not self._at_control("end", "else"):
            nodes.append(self._node())
        self._stream.depth -= 1
        return tuple(nodes)

    def _node(self) -> Node:
        token = self._stream.next()
        if token.kind == "text":
            return Text(token.text)
        if token.kind != "open":
            raise error(token.line, f"unexpected {token}")
        token = self._stream.peek()
        if token.kind != "keyword":
            return Action(self._pipeline("command"))
        self._stream.next()
        match token.text:
            case "if" | "with":
                return self._branches(token.text)
            case "range":
                return self._range()
            case "template":
                return self._call(token)
            case "block":
                return self._block(token)
            case "break" | "continue":
                return self._jump(token)
        raise error(token.line, f"unexpected {{{{{token.text}}}}} in command")

    def _branches(self, keyword: str) -> If | With:
        mark = len(self._variables)
        branches = [self._branch(keyword)]
        otherwise: Nodes = ()
        while self._at_control("else"):
            self._skip(2)
            if self._is_keyword(self._stream.peek(), keyword):
                self._skip(1)
                branches.append(self._branch(keyword))
                continue
            self._expect("close", "else")
            otherwise = self._body()
            break
        self._end(keyword)
        del self._variables[mark:]
        return If(tuple(branches), otherwise) if keyword == "if" else With(tuple(branches), otherwise)

    def _branch(self, keyword: str) -> Branch:
        return Branch(self._pipeline(keyword), self._body())

    def _range(self) -> Range:
        mark = len(self._variables)
        pipeline = self._pipeline("range")
        self._ranges += 1
        body = self._body()
        self._ranges -= 1
        otherwise: Nodes = ()
        if self._at_control("else"):
            self._skip(2)
            self._expect("close", "else")
            otherwise = self._body()
        self._end("range")
        del self._variables[mark:]
        return Range(pipeline, body, otherwise)

    def _jump(self, token: Token) -> Break | Continue:
        self._expect("close", token.text)
        if not self._ranges:
            raise error(token.line, f"{{{{{token.text}}}}} outside {{{{range}}}}")
        return Break() if token.text == "break" else Continue()

    def _call(self, token: Token) -> Call:
        name = self._name("template clause")
        if self._stream.peek().kind == "close":
            self._skip(1)
            return Call(name, None, token.line)
        return Call(name, self._pipeline("template clause"), token.line)

    def _block(self, token: Token) -> Call:
        name = self._name("block clause")
        pipeline = self._pipeline("block clause")
        self._define(name, token.line)
        return Call(name, pipeline, token.line)

    def _name(self, context: str) -> str:
        token = self._stream.next()
        if token.kind not in ("string", "raw"):
            raise _unexpected(token, context)
        return _literal(token, literals.string)

    # Pipelines.

    def _pipeline(self, context: str, end: Kind = "close") -> Pipeline:
        """Up to `end`, which is read too."""
        line = self._stream.peek().line
        variables, assigns = self._declarations(context)
        commands: list[Command] = []
        while self._stream.peek().kind != end:
            commands.append(self._command(context, later=bool(commands)))
        self._skip(1)
        if not commands:
            raise error(line, f"missing value for {context}")
        return Pipeline(tuple(commands), line, variables, assigns)

    def _declarations(self, context: str) -> tuple[tuple[str, ...], bool]:
        """The variables before `:=` or `=`, and whether it is `=`."""
        names: list[str] = []
        while self._stream.peek().kind == "variable":
            after = self._stream.peek(1)
            if after.kind not in (":=", "=", ","):
                break
            names.append(self._stream.next().text)
            self._skip(1)
            self._variables.append(names[-1])
            if after.kind != ",":
                return tuple(names), after.kind == "="
            if context != "range" or len(names) > 1:
                raise error(after.line, f"too many declarations in {context}")
            if self._stream.peek().kind not in ("variable", "close", ")"):
                raise error(after.line, "range can only initialize variables")
        return tuple(names), False

    def _command(self, context: str, *, later: bool) -> Command:
        """A command, and the `|` after it."""
        operands: list[Operand] = []
        while True:
            token = self._stream.peek()
            operand = self._operand()
            if operand is not None:
                operands.append(operand)
            after = self._stream.peek()
            if after.kind == "|" and operands:
                self._skip(1)
                break
            if after.kind in ("close", ")") and operands:
                break
            if operand is None or not after.spaced:
                raise _unexpected(after if operand is not None else token, context)
        if later and isinstance(operands[0], (Literal, Nil, Dot)):
            raise error(token.line, "non executable command in pipeline")
        return Command(operands[0], tuple(operands[1:]))

    def _operand(self) -> Operand | None:
        """A term and the fields that follow it without a space."""
        line = self._stream.peek().line
        term = self._term()
        names: list[str] = []
        while term is not None and self._stream.peek().kind == "field" and not self._stream.peek().spaced:
            names.append(self._stream.next().text[1:])
        if not names or term is None:
            return term
        match term:
            case Field(before, line):
                return Field((*before, *names), line)
            case Variable(name, before, line):
                return Variable(name, (*before, *names), line)
            case Literal() | Nil() | Dot():
                raise error(line, "unexpected . after term")
        return Chain(term, tuple(names), line)

    def _term(self) -> Operand | None:
        token = self._stream.peek()
        match token.kind:
            case "name":
                if token.text not in self._functions:
                    raise error(token.line, f"function {token.text[:40]!r} not defined")
                term: Operand = Function(token.text, token.line)
            case "variable":
                if token.text not in self._variables:
                    raise error(token.line, f"undefined variable {token.text[:40]!r}")
                term = Variable(token.text, (), token.line)
            case "(":
                self._skip(1)
                self._stream.enter()
                pipeline = self._pipeline("parenthesized pipeline", ")")
                self._stream.depth -= 1
                return pipeline
            case "dot":
                term = Dot(token.line)
            case "field":
                term = Field((token.text[1:],), token.line)
            case "nil":
                term = Nil(token.line)
            case "bool":
                term = Literal(token.text == "true", token.line)
            case "number" | "complex":
                term = Literal(_literal(token, literals.number), token.line)
            case "char":
                term = Literal(_literal(token, literals.character), token.line)
            case "string" | "raw":
                term = Literal(_literal(token, literals.string), token.line)
            case _:
                return None
        self._skip(1)
        return term

    # Tokens.

    def _skip(self, count: int) -> None:
        for _ in range(count):
            self._stream.next()

    def _expect(self, kind: Kind, context: str) -> None:
        token = self._stream.next()
        if token.kind != kind:
            raise _unexpected(token, context)

    def _end(self, context: str) -> None:
        """`{{end}}`."""
        if not self._at_control("end"):
            raise _unexpected(self._stream.peek(1), context)
        self._skip(2)
        self._expect("close", "end")

    def _at_control(self, *keywords: str) -> bool:
        """Whether an action with one of the keywords comes next."""
        token = self._stream.peek()
        if token.kind == "end of text" and "end" in keywords and "else" in keywords:
            raise error(token.line, "unexpected end of text: an {{end}} is missing")
        return token.kind == "open" and any(self._is_keyword(self._stream.peek(1), each) for each in keywords)

    @staticmethod
    def _is_keyword(token: Token, keyword: str) -> bool:
        return token.kind == "keyword" and token.text == keyword


def _unexpected(token: Token, context: str) -> TemplateError:
    return error(token.line, f"unexpected {token} in {context}")


T = TypeVar("T")


def _literal(token: Token, read: Callable[[str], T]) -> T:
    try:
        return read(token.text)
    except ValueError as wrong:
        raise error(token.line, str(wrong)) from None
