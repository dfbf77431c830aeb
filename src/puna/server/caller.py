"""Who calls and how urgently: what a request of any dialect says outside its body."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request as HTTPRequest

from puna.engine import Priority
from puna.errors import InvalidRequest
from puna.runtime.parameters import parse_priority
from puna.server.keys import OPERATOR, Key

PRIORITY_HEADER = "X-Puna-Priority"
STRICT_HEADER = "X-Puna-Strict"


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request comes from.

    client    for a fair share among clients: the name of the key, else the peer's address (a header such as
        X-Forwarded-For can say anything)
    priority  of the header X-Puna-Priority, for a request whose body names none
    key       what it may do
    strict    refuse what would be ignored
    """

    client: str
    priority: Priority | None = None
    key: Key = OPERATOR
    strict: bool = False


def caller(request: HTTPRequest) -> Caller:
    """The caller of a request. Raises InvalidRequest for a priority that there is not."""
    key = key_of(request)
    address = request.client.host if request.client else ""
    asked = request.headers.get(PRIORITY_HEADER)
    priority = None if asked is None else parse_priority(PRIORITY_HEADER, asked.strip().lower())
    return Caller(key.name or address, priority, key, getattr(request.state, "strict", False))


def key_of(request: HTTPRequest) -> Key:
    """What the request may do, as `security.Guard` found it."""
    key = request.state.key
    assert isinstance(key, Key)
    return key


def strict_asked(request: HTTPRequest) -> bool:
    """Whether the server, or the request outside its body, asks for strictness. Raises InvalidRequest."""
    asked = request.headers.get(STRICT_HEADER, "false").strip().lower()
    if asked not in ("true", "false", "1", "0"):
        raise InvalidRequest(f"{STRICT_HEADER} must be true or false, not {asked!r}")
    return bool(request.app.state.strict) or asked in ("true", "1")
