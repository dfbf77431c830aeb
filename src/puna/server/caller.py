"""Who calls and how urgently: what a request of any dialect says outside its body."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request as HTTPRequest

from puna.engine import Priority
from puna.runtime.parameters import parse_priority

PRIORITY_HEADER = "X-Puna-Priority"


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request comes from.

    client    the peer's address, for a fair share among clients: all have the same key, and a header such as
        X-Forwarded-For can say anything
    priority  of the header X-Puna-Priority, for a request whose body names none
    """

    client: str
    priority: Priority | None = None


def caller(request: HTTPRequest) -> Caller:
    """The caller of a request. Raises InvalidRequest for a priority that there is not."""
    client = request.client.host if request.client else ""
    asked = request.headers.get(PRIORITY_HEADER)
    return Caller(client, None if asked is None else parse_priority(PRIORITY_HEADER, asked.strip().lower()))
