"""Our error types to HTTP statuses, and to the shapes of an error body: Ollama's, OpenAI's and Anthropic's."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Literal, TypeAlias

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from puna.errors import (
    CollectionNotFound,
    ContextOverflow,
    InsufficientMemory,
    InvalidRequest,
    MissingPackage,
    ModelNotFound,
    PunaError,
    TemplateError,
    UnreadableDocument,
    UnsupportedModel,
)
from puna.server.encoding import json_bytes

Dialect: TypeAlias = Literal["ollama", "openai", "anthropic"]


class RetryLaterError(PunaError):
    """Not now; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServerBusyError(RetryLaterError):
    """More requests are waiting than the server holds."""


class BudgetSpentError(RetryLaterError):
    """The key has used what it may use in a day."""


class ForbiddenError(PunaError):
    """The key does not allow it."""


class BodyTooLargeError(InvalidRequest):
    """The request's body is larger than the server reads."""


class UnsupportedEncodingError(InvalidRequest):
    """The request's body is compressed in a way that the server does not know."""


class NotFoundError(PunaError):
    """What the request names is not there."""


class IdempotencyConflictError(InvalidRequest):
    """An Idempotency-Key that was used for another request."""


class NothingToResumeError(InvalidRequest):
    """There is no answer that could be taken up."""


_STATUS: tuple[tuple[type[PunaError], int], ...] = (
    (ServerBusyError, 503),
    (BudgetSpentError, 429),
    (ForbiddenError, 403),
    (BodyTooLargeError, 413),
    (UnsupportedEncodingError, 415),
    (IdempotencyConflictError, 422),
    (NothingToResumeError, 409),
    (InvalidRequest, 400),
    (TemplateError, 400),
    (UnsupportedModel, 400),
    (InsufficientMemory, 400),  # not 5xx, which clients would try again
    (ModelNotFound, 404),
    (NotFoundError, 404),
    (CollectionNotFound, 404),
    (UnreadableDocument, 400),
    (MissingPackage, 501),
)

_OPENAI_TYPE = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "insufficient_quota",
}


_ANTHROPIC_TYPE = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def status_of(error: PunaError) -> int:
    """The status.

    400: the request is wrong; 403, 429: the key does not allow it, or no more today; 404: the model is not there;
    501: a package is not installed; 503: there is no room; else 500.
    """
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def dialect(scope: Scope) -> Dialect:
    """What a request is answered in: its route says it, and under /v1 the header that only Anthropic's clients send."""
    path = scope["path"]
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return "anthropic"
    if path == "/v1" or path.startswith("/v1/"):
        return "anthropic" if "anthropic-version" in Headers(scope=scope) else "openai"
    return "ollama"


def ollama_body(message: str) -> dict[str, object]:
    """Ollama's shape of an error."""
    return {"error": message}


def openai_body(message: str, status: int, *, code: str | None = None, param: str | None = None) -> dict[str, object]:
    """OpenAI's shape of an error."""
    kind = _OPENAI_TYPE.get(status, "api_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def openai_error_body(error: PunaError) -> dict[str, object]:
    """One of our errors in OpenAI's shape, with the codes its clients look for."""
    message, code, param = str(error), None, None
    if isinstance(error, ContextOverflow):
        # litellm knows this error, and falls back to a larger model, by these words.
        message = f"This model's maximum context length is exceeded: {error}"
        code, param = "context_length_exceeded", "messages"
    elif isinstance(error, ModelNotFound):
        code, param = "model_not_found", "model"
    elif isinstance(error, BudgetSpentError):
        code = "insufficient_quota"
    return openai_body(message, status_of(error), code=code, param=param)


def anthropic_body(message: str, status: int) -> dict[str, object]:
    """Anthropic's shape of an error. The id is there because its clients show it."""
    kind = _ANTHROPIC_TYPE.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": f"req_{uuid.uuid4().hex}"}


def anthropic_error_body(error: PunaError) -> dict[str, object]:
    """One of our errors in Anthropic's shape."""
    # Its clients know a history that is too long, and shorten it, by these words.
    message = f"prompt is too long: {error}" if isinstance(error, ContextOverflow) else str(error)
    return anthropic_body(message, status_of(error))


def error_body(dialect: Dialect, error: PunaError) -> dict[str, object]:
    """One of our errors in the shape of a dialect."""
    match dialect:
        case "anthropic":
            return anthropic_error_body(error)
        case "openai":
            return openai_error_body(error)
        case "ollama":
            return ollama_body(str(error))


def response(dialect: Dialect, error: PunaError) -> Response:
    """The reply to a request that failed before its first byte."""
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, RetryLaterError) else None
    return _json(error_body(dialect, error), status_of(error), headers)


def refusal(dialect: Dialect, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The reply to a request that never reached a route."""
    if dialect == "anthropic":
        return _json(anthropic_body(message, status), status, headers)
    if dialect == "ollama":
        if status in (404, 405):  # what clients of Ollama know from its router
            text = "404 page not found" if status == 404 else "405 method not allowed"
            return PlainTextResponse(text, status, headers)
        return _json(ollama_body(message), status, headers)
    code = {401: "invalid_api_key", 404: "unknown_url", 405: "method_not_supported"}.get(status)
    return _json(openai_body(message, status, code=code), status, headers)


def _json(body: Mapping[str, object], status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json_bytes(body), status, headers, media_type="application/json")
