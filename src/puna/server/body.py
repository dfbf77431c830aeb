"""Request bodies: JSON whatever the Content-Type says, nulls as absent, every wrong value named.

Clients send JSON as `application/x-www-form-urlencoded` (curl's default) or with no type at all.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import Annotated, Any, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from puna.errors import InvalidRequest
from puna.server.caller import key_of, strict_asked
from puna.server.compression import decompressed
from puna.server.errors import BodyTooLargeError

MAX_BODY = 64 << 20  # bytes, as it comes and unpacked
MAX_DEPTH = 200  # of nested arrays and objects: what follows goes down a body by recursion


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_whole)]  # 5 or 5.0: JSON knows no difference


class Body(BaseModel):
    """A request body. A field that is not declared is kept aside, to be reported."""

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)

    def unknown(self) -> tuple[str, ...]:
        """Names of the fields that no part of the server knows, here and below: `bogus`, `messages.bogus`."""
        names = list(self.model_extra or ())
        for field in type(self).model_fields:
            value = getattr(self, field)
            for below in value if isinstance(value, list) else [value]:
                if isinstance(below, Body):
                    names += (f"{field}.{name}" for name in below.unknown())
        return tuple(dict.fromkeys(names))

    def models(self) -> tuple[str, ...]:
        """Names of the models that it is about."""
        model = getattr(self, "model", "")
        return (model,) if isinstance(model, str) and model else ()

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


class PunaBody(Body):
    """Our own additions, under one key, to either dialect's request."""

    history: Integer | str = Field(
        default="drop_oldest",
        description="What happens to a history that outgrows the context: `drop_oldest` rounds, `error`, or how many "
        "rounds to keep.",
    )
    strict: bool = Field(default=False, description="Refuse a request of which something would be ignored.")


B = TypeVar("B", bound=Body)


async def read(request: Request, kind: type[B]) -> B:
    """Read and check a request's body.

    Raises:
        InvalidRequest: empty, not JSON, not an object, or with a value of the wrong type.
        ForbiddenError: about a model that the key may not use.
    """
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY:
            raise BodyTooLargeError(f"the request body is larger than {MAX_BODY >> 20} MiB")
    text = decompressed(bytes(raw), request.headers.get("content-encoding", ""), MAX_BODY)
    if not text.strip():
        raise InvalidRequest("missing request body")
    body = check(_parse(text), kind)
    for model in body.models():
        key_of(request).require_model(model)
    _settle_strictness(request, body)
    return body


def _settle_strictness(request: Request, body: Body) -> None:
    """Strict is who says so in the body, in a header, or for the whole server; body and request then both say so."""
    puna = getattr(body, "puna", None)
    if isinstance(puna, PunaBody):
        request.state.strict = puna.strict or strict_asked(request)
        body.puna = puna.model_copy(update={"strict": request.state.strict})  # type: ignore[attr-defined]
    elif strict_asked(request) and body.unknown():  # others have nowhere to say it, nor warnings
        raise InvalidRequest("; ".join(f"field {name!r} is unknown" for name in body.unknown()))


def check(document: object, kind: type[B]) -> B:
    """A parsed body as `kind`. Raises InvalidRequest, which names the first wrong value."""
    if not isinstance(document, dict):
        raise InvalidRequest("the request body must be a JSON object")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise InvalidRequest(f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None


def _parse(raw: bytes) -> object:
    try:
        document = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error}") from None
    _check_depth(document)
    return document


def _check_depth(document: object) -> None:
    containers = (dict, list)
    level: list[Any] = [document] if isinstance(document, containers) else []
    for _ in range(MAX_DEPTH):
        inside = chain.from_iterable(each.values() if isinstance(each, dict) else each for each in level)
        level = [each for each in inside if isinstance(each, containers)]
        if not level:
            return
    raise InvalidRequest(f"the request body is nested more than {MAX_DEPTH} levels deep")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
