"""Formats as Go's fmt.Sprintf reads them: flags, widths, precisions, indices of arguments.

Source: the documentation of package fmt ("Printing").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from puna.chat.gotemplate.printing import PLAIN, Spend, Verb, formatted
from puna.chat.gotemplate.values import type_name

MAX_NUMBER = 1_000_000
"""The largest width or precision, as in Go."""

_FLAGS = {"#": "sharp", "0": "zero", "+": "plus", "-": "minus", " ": "space"}


def sprintf(template: str, values: Sequence[object], spend: Spend) -> str:
    """The format with its verbs replaced by the values."""
    return _Format(template, values, spend).text()


@dataclass(slots=True)
class _State:
    """Of one verb: whether its indices of arguments are good, and whether the last thing read was one."""

    good: bool = True
    after_index: bool = False


class _Format:
    def __init__(self, template: str, values: Sequence[object], spend: Spend) -> None:
        self._template = template
        self._values = values
        self._spend = spend
        self._at = 0
        self._argument = 0
        self._reordered = False

    def text(self) -> str:
        parts: list[str] = []
        while True:
            percent = self._template.find("%", self._at)
            parts.append(self._template[self._at : percent] if percent >= 0 else self._template[self._at :])
            if percent < 0:
                break
            self._at = percent + 1
            self._spend(1)
            parts.append(self._verb(parts))
        return "".join(parts) + self._extra()

    def _verb(self, parts: list[str]) -> str:
        state = _State()
        verb = self._flags()
        self._index(state)
        verb = self._width(verb, state, parts)
        verb = self._precision(verb, state, parts)
        if not state.after_index:
            self._index(state)
        if self._at >= len(self._template):
            return "%!(NOVERB)"
        char = self._template[self._at]
        self._at += 1
        if char == "%":
            return "%"
        shown = "\ufffd" if "\udc80" <= char <= "\udcff" else char
        if not state.good:
            return f"%!{shown}(BADINDEX)"
        if self._argument >= len(self._values):
            return f"%!{shown}(MISSING)"
        value = self._values[self._argument]
        self._argument += 1
        verb = replace(verb, char=shown)
        if char == "v":
            verb = replace(verb, go_syntax=verb.sharp, with_names=verb.plus, sharp=False, plus=False)
        return formatted(value, verb, self._spend)

    def _flags(self) -> Verb:
        flags: dict[str, bool] = {}
        while self._peek() in _FLAGS:
            flags[_FLAGS[self._peek()]] = True
            self._at += 1
        return Verb(**flags)  # type: ignore[arg-type]  # flags are all bool

    def _width(self, verb: Verb, state: _State, parts: list[str]) -> Verb:
        if self._peek() == "*":
            width = self._from_argument()
            if width is None:
                parts.append("%!(BADWIDTH)")
            state.after_index = False
            if width is not None and width < 0:
                return replace(verb, width=-width, minus=True, zero=False)
            return replace(verb, width=width)
        width = self._number()
        if state.after_index and width is not None:
            state.good = False
        return replace(verb, width=width)

    def _precision(self, verb: Verb, state: _State, parts: list[str]) -> Verb:
        if self._peek() != "." or self._at + 1 >= len(self._template):
            return verb
        self._at += 1
        if state.after_index:
            state.good = False
        self._index(state)
        if self._peek() != "*":
            return replace(verb, precision=self._number() or 0)
        precision = self._from_argument()
        if precision is None or precision < 0:
            parts.append("%!(BADPREC)")
            precision = None
        state.after_index = False
        return replace(verb, precision=precision)

    def _from_argument(self) -> int | None:
        """The number that `*` stands for."""
        self._at += 1
        if self._argument >= len(self._values):
            return None
        value = self._values[self._argument]
        self._argument += 1
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_NUMBER:
            return None
        return int(value)

    def _number(self) -> int | None:
        """The digits that come next; one that is too large takes all that is left."""
        start, number = self._at, 0
        while "0" <= self._peek() <= "9":
            number = number * 10 + int(self._peek())
            self._at += 1
            if number > MAX_NUMBER:
                self._at = len(self._template)
                return None
        return number if self._at > start else None

    def _index(self, state: _State) -> None:
        """`[3]`: which argument is next."""
        state.after_index = False
        if self._peek() != "[":
            return
        self._reordered = True
        end = self._template.find("]", self._at)
        if end < 0 or len(self._template) - self._at < 3:
            self._at += 1
            state.good = False
            return
        inside = self._template[self._at + 1 : end]
        self._at = end + 1
        is_number = inside.isascii() and inside.isdigit() and len(inside) <= 7 and int(inside) <= MAX_NUMBER
        state.after_index = is_number
        if is_number and 1 <= int(inside) <= len(self._values):
            self._argument = int(inside) - 1
        else:
            state.good = False

    def _peek(self) -> str:
        return self._template[self._at] if self._at < len(self._template) else "\0"

    def _extra(self) -> str:
        """The values that no verb asked for."""
        left = self._values[self._argument :]
        if self._reordered or not left:
            return ""
        shown = [
            "<nil>" if value is None else f"{type_name(value)}={formatted(value, PLAIN, self._spend)}" for value in left
        ]
        return f"%!(EXTRA {', '.join(shown)})"
