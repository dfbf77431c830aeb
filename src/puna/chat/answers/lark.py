"""Writes grammars in llguidance's Lark notation (its docs/syntax.md).

Knows nothing of formats, nor of what a vocabulary's ids mean: it is given those of the marks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from puna.chat.answers.pieces import Body
from puna.errors import InvalidRequest

ANY = "ANY"  # the terminal for any text

# Between JSON's tokens: nothing, a blank, or a new line and its indentation, so that no model writes blanks for ever.
_WHITE_SPACE = r"( |\n[ \t]{0,20})?"


class Lark:
    """A grammar in the making: rules are added, and named by the expressions that use them."""

    def __init__(self, control_tokens: Mapping[str, int]) -> None:
        """`control_tokens` are no text in this vocabulary: where a text has one, it is named by its id."""
        self._ids = dict(control_tokens)
        marks = "|".join(re.escape(mark) for mark in sorted(self._ids, key=len, reverse=True))
        self._marks = re.compile(f"({marks})") if marks else None
        self._rules: list[str] = []
        self._names = 0

    def source(self, start: str) -> str:
        """The whole grammar, of which `start` is the beginning."""
        return "\n".join(["%llguidance {}", f"start: {start}", f"{ANY}: /(?s:.*)/", *self._rules])

    def rule(self, expression: str, attributes: str = "") -> str:
        """The name of a rule for the expression. `attributes` as in `[lazy]`."""
        name = self.name()
        self._rules.append(f"{name}{attributes}: {expression}")
        return name

    def name(self) -> str:
        """A name for a rule that refers to itself, to be defined by `define`."""
        self._names += 1
        return f"r{self._names}"

    def define(self, name: str, expression: str) -> None:
        """Add the rule of this name."""
        self._rules.append(f"{name}: {expression}")

    def text(self, text: str) -> str:
        """Exactly this text; control tokens in it by their ids."""
        parts = self._marks.split(text) if self._marks else [text]
        return " ".join(
            f"<[{self._ids[part]}]>" if part in self._ids else json.dumps(part, ensure_ascii=False)
            for part in parts
            if part
        )

    def until(self, mark: str) -> str:
        """Any text, up to the first such mark and past it."""
        before, control, after = (
            self._marks.split(mark, maxsplit=1) if self._marks and self._marks.search(mark) else ("", "", "")
        )
        if control and not before:
            return self.rule(f"{ANY} {self.text(mark)}")
        if control:
            return self.rule(f"/(?s:.*){re.escape(before).replace('/', chr(92) + '/')}/ {self.text(control + after)}")
        return self.rule(f"{ANY} {self.text(mark)}", "[lazy]")

    def json(self, schema: Mapping[str, object]) -> str:
        """JSON of this schema."""
        options = {"whitespace_pattern": _WHITE_SPACE}
        return self.rule(f"%json {json.dumps({**schema, 'x-guidance': options}, ensure_ascii=False)}")

    def body(self, body: Body) -> str:
        """What an answer's text is held to. Raises InvalidRequest for another kind."""
        match body.kind:
            case "json_schema":
                return self._json_schema(body.source)
            case "regex":
                # An escaped slash is left as it is.
                escaped = re.sub(
                    r"\\.|/", lambda part: r"\/" if part[0] == "/" else part[0], body.source, flags=re.DOTALL
                )
                return self.rule(f"/{escaped}/")
            case "lark":
                return self.rule("%lark {\n" + body.source + "\n}")
        raise InvalidRequest(f"an answer cannot be held to a {body.kind} here: give a JSON schema, a regex or Lark")

    def _json_schema(self, source: str) -> str:
        try:
            schema = json.loads(source)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"the JSON schema is not valid: {error}") from None
        return self.json(schema) if isinstance(schema, dict) else self.rule(f"%json {json.dumps(schema)}")

    def listed(self, items: Sequence[tuple[str, bool]], comma: str) -> str:
        """The items in this order with commas between; those whose second value is False may be missing."""
        between = self.text(comma)
        after = [f"({between} {item}){'' if needed else '?'}" for item, needed in items]
        runs = []
        for index, (item, needed) in enumerate(items):  # the first that is there
            runs.append(" ".join([item, *after[index + 1 :]]))
            if needed:
                return self.one_of(runs)
        return self.one_of(runs) + "?" if runs else ""

    @staticmethod
    def one_of(expressions: list[str]) -> str:
        """Any one of these."""
        return "(" + " | ".join(expressions) + ")"
