"""Runs a hostile Jinja template in bounded time and memory, with what transformers offers templates.

Jinja's sandbox keeps a template from Python's internals, but not from `'a' * 10**10` or a loop in a loop in a loop.
Here every body that can run again, every call, filter and operator is paid for from a `Meter`: the syntax tree is
rewritten so that what Jinja compiles to plain Python (loops, `~`, slices, comparisons) asks the meter first.

Reference for the offered names: transformers' "chat templating" guide.
"""

from __future__ import annotations

import json
import operator
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import wraps
from typing import Any

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.parser import Parser
from jinja2.runtime import BlockReference, Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Cycler, Joiner, Namespace, pass_context

from puna.chat import prices
from puna.chat.meter import CONTAINERS, LimitExceeded, Meter, flat_size, parts
from puna.chat.rewriting import STEP, metered
from puna.errors import InvalidRequest, TemplateError

MAX_SOURCE = 64 << 10
"""Characters of a template; the largest known has 20,000."""

_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}
_COSTLY_TESTS = prices.names("in == eq equalto != ne > gt greaterthan ge >= < lt lessthan <= le lower upper")


class Sandbox:
    """One compiled template. Thread-safe; renders wait for each other."""

    def __init__(self, source: str, *, now: Callable[[], datetime] = datetime.now) -> None:
        """Raises `TemplateError`, with the line, for a template that does not compile."""
        if len(source) > MAX_SOURCE:
            raise TemplateError(f"the chat template has {len(source)} characters, more than {MAX_SOURCE}")
        self._lock = threading.Lock()
        self._environment = _Environment(now)
        try:
            self._template = self._environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"chat template, line {error.lineno}: {error.message}") from error
        except Exception as error:  # Python's own compiler: nested too deeply, a number too long
            raise TemplateError(f"the chat template cannot be compiled: {_text(error)}") from error

    def render(self, variables: Mapping[str, object]) -> str:
        """The text. `variables` are JSON-like data; anything else is an `InvalidRequest`.

        Raises `TemplateError` when the template raises, fails, or uses up its budget.
        """
        data = {name: _plain(value, name) for name, value in variables.items()}
        with self._lock:
            self._environment.meter = Meter(sum(map(flat_size, parts(data))))
            try:
                return "".join(self._template.root_render_func(self._template.new_context(data)))
            except LimitExceeded as error:
                raise TemplateError(f"the chat template was stopped{self._line(error)}: {error}") from None
            except _Refusal as error:
                raise TemplateError(f"the chat template refuses these messages: {_text(error)}") from error
            except Exception as error:  # a template can raise whatever Python can
                raise TemplateError(f"the chat template failed{self._line(error)}: {_text(error)}") from error

    def _line(self, error: Exception) -> str:
        """` at line N`: the innermost line of the template in the error's traceback."""
        line, trace = 0, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__jinja_template__") is self._template:
                line = self._template.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return f" at line {line}" if line else ""


class _Refusal(jinja2.TemplateError):
    """The template called `raise_exception`."""


class _Namespace(Namespace):
    """`namespace()`, without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # no `self`: that may be one of the names
        for name in dict(*args[1:], **kwargs):
            _check_name(name)
        Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


class _Dict:
    """`dict(...)`, as a function that has no attributes worth having."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class _Function:
    """A function that templates may call, and nothing else."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> object:
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return "<function>"


_CALLABLE = (Macro, LoopContext, Joiner, BlockReference, jinja2.Undefined)
_CALLABLE_CLASSES = (_Namespace, Cycler, Joiner)


class _Generation(jinja2.ext.Extension):
    """`{% generation %}`...`{% endgeneration %}` marks assistant text for training; here its body is just rendered."""

    tags = frozenset(["generation"])  # type: ignore[assignment]  # Jinja only asks what is in it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox, metered."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "**", "%"])

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, jinja2.ext.loopcontrols],
            optimized=False,  # constants are computed where the meter sees them
        )
        self.meter = Meter()
        self.finalize = pass_context(lambda _context, value: self.printed(value))
        filters: dict[str, Callable[..., Any]] = {**self.filters, "tojson": self._tojson}
        self.filters = {name: self._metered_filter(name, filters[name]) for name in prices.FILTERS}
        tests: dict[str, Any] = dict(self.tests)
        self.tests = tests | {name: self._metered_test(tests[name]) for name in _COSTLY_TESTS}
        self.globals = {
            "cycler": Cycler,
            "dict": _Dict(),
            "joiner": Joiner,
            "namespace": _Namespace,
            "raise_exception": _Function(_raise_exception),
            "range": _Function(safe_range),
            "strftime_now": _Function(lambda text: now().strftime(_checked_time_format(text))),
        }

    # What the rewritten tree calls.

    def charge(self, size: int) -> bool:
        """A body with `size` bytes of fixed text and lists runs once more."""
        self.meter.spend(size)
        return True

    def printed(self, value: object) -> object:
        """The value is about to be turned into text."""
        self.meter.spend(self.meter.deep_size(value))
        return value

    def copied(self, value: object) -> object:
        """A part of the value is about to be copied (a slice)."""
        self.meter.spend(flat_size(value))
        return value

    def compared(self, value: object) -> object:
        """The value is about to be compared or hashed: shared parts count each time."""
        self.meter.deep_size(value)
        return value

    def compare(self, left: object, name: str, right: object) -> object:
        """`left name right`; two containers may take exponential time when their parts are shared."""
        if isinstance(left, CONTAINERS) and isinstance(right, CONTAINERS):
            self.compared([left, right])
        return _COMPARISONS[name](left, right)

    # What Jinja's compiled code calls.

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return metered(super()._parse(source, name, filename), self)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Every call in a template's text."""
        for name in ("_loop_vars", "_block_vars"):  # Jinja's own, for functions that take its context; none does
            kwargs.pop(name, None)
        owner = getattr(obj, "__self__", None)
        if owner is self:
            return obj(*args)
        self.meter.spend(STEP + 8 * len(args) + 100 * len(kwargs))
        if isinstance(owner, tuple(prices.METHODS)):
            self._charge_method(obj.__name__, owner, args, kwargs)
        elif isinstance(obj, (_Function, _Dict)) or obj is _Namespace or isinstance(owner, LoopContext):
            self.compared([*args])  # a function may print it, `dict` and `namespace` hash, `loop.changed` compares
        elif not (isinstance(obj, _CALLABLE) or isinstance(owner, Cycler) or obj in _CALLABLE_CLASSES):
            raise SecurityError(f"a chat template cannot call a {type(obj).__name__}")
        result = context.call(obj, *args, **kwargs)
        self.meter.spend(flat_size(result) if owner is not None else 0)
        return result

    def _charge_method(self, name: str, owner: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        allowed = next(names for kind, names in prices.METHODS.items() if isinstance(owner, kind))
        if name not in allowed:
            raise SecurityError(f"a chat template cannot call {type(owner).__name__}.{name}")
        if args and isinstance(args[0], CONTAINERS):
            self.compared([owner, *args])
        if price := prices.METHOD_PRICES.get(name):
            self.meter.spend(price(self.meter, owner, args, kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self.meter.spend(STEP + prices.operator_price(self.meter, operator, left, right))
        return super().call_binop(context, operator, left, right)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return super().getitem(obj, self.compared(argument) if isinstance(argument, tuple) else argument)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` and `str.format_map`, which Jinja replaces when they are looked up."""
        safe = super().wrap_str_format(value)
        if safe is None:
            return None

        def formatted(*args: Any, **kwargs: Any) -> object:
            self._charge_method(value.__name__, value.__self__, args, kwargs)
            result = safe(*args, **kwargs)
            self.meter.spend(flat_size(result))
            return result

        return _Function(formatted)  # type: ignore[return-value]  # it gives the str that `safe` gives

    def _metered_filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        skipped = 1 if hasattr(function, "jinja_pass_arg") else 0
        lazy = name in prices.LAZY_FILTERS
        price = prices.FILTER_PRICES.get(name)

        @wraps(function)
        def metered_filter(*given: Any, **kwargs: Any) -> Any:
            self.meter.spend(STEP)
            args = list(given)
            self.compared([*args[skipped + 1 :], *kwargs.values()])
            if lazy:
                return function(*args, **kwargs)
            if isinstance(args[skipped], Iterator) and name != "tojson":  # whose error it is
                args[skipped] = list(args[skipped])
            self.compared(args[skipped])
            if price is not None:
                self.meter.spend(price(self.meter, args[skipped], args[skipped + 1 :], kwargs))
            result = function(*args, **kwargs)
            self.meter.spend(flat_size(result))
            return result

        return metered_filter

    def _metered_test(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def metered_test(*args: Any) -> Any:
            if len(args) < 2 or all(isinstance(value, CONTAINERS) for value in args):
                self.compared([*args])
            return function(*args)

        return metered_test

    def _tojson(
        self,
        value: object,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """JSON as `json.dumps` writes it: no HTML escapes, keys in their own order, unless asked otherwise."""
        for text in (indent, *(separators or ())):
            if (len(text) if isinstance(text, str) else text or 0) > 64:
                raise LimitExceeded("it asks for JSON with an indent or separator above 64 characters")
        encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        if indent is None:
            return encoder.encode(value)
        pieces = []
        for piece in encoder.iterencode(value):
            self.meter.spend(flat_size(piece))
            pieces.append(piece)
        return "".join(pieces)


def _plain(value: object, where: str) -> object:
    """The value made of plain JSON types alone, since a method of a rich object could do anything."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {_plain(key, where): _plain(item, where) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, where) for item in value]
    if isinstance(value, str):
        return str.__str__(value)
    raise InvalidRequest(f"{where}: a chat template takes JSON data, not a {type(value).__name__}")


def _raise_exception(message: object = "") -> None:
    raise _Refusal(str(message))


def _checked_time_format(text: object) -> str:
    if not isinstance(text, str) or len(text) > 200 or re.search(r"\d{4}", text):
        raise SecurityError("a time format has at most 200 characters and no width above 999")
    return text


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace has no names that begin with an underscore ({name[:60]!r})")


def _text(error: Exception) -> str:
    return str(error)[:500] or type(error).__name__
