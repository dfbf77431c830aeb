"""Our error types to HTTP statuses, and to the two shapes of an error body: Ollama's and OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import PlainTextResponse, Response

from puna.errors import (
    ContextOverflow,
    InvalidRequest,
    ModelNotFound,
    PunaError,
    TemplateError,
    UnsupportedModel,
)
from puna.server.encoding import json_bytes


class ServerBusyError(PunaError):
    """More requests are waiting than the server holds; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BodyTooLargeError(InvalidRequest):
    """The request's body is larger than the server reads."""


_STATUS: tuple[tuple[type[PunaError], int], ...] = (
    (ServerBusyError, 503),
    (BodyTooLargeError, 413),
    (InvalidRequest, 400),
    (TemplateError, 400),
    (UnsupportedModel, 400),
    (ModelNotFound, 404),
)

_OPENAI_TYPE = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
}


def status_of(error: PunaError) -> int:
    """400: the request is wrong; 404: the model is not there; 503: there is no room; else 500."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def is_openai(path: str) -> bool:
    """Whether a route speaks OpenAI's dialect."""
    return path == "/v1" or path.startswith("/v1/")


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
    return openai_body(message, status_of(error), code=code, param=param)


def response(path: str, error: PunaError) -> Response:
    """The reply to a request that failed before its first byte, in the dialect of its route."""
    body = openai_error_body(error) if is_openai(path) else ollama_body(str(error))
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, ServerBusyError) else None
    return _json(body, status_of(error), headers)


def refusal(path: str, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The reply to a request that never reached a route."""
    if not is_openai(path):
        if status in (404, 405):  # what clients of Ollama know from its router
            text = "404 page not found" if status == 404 else "405 method not allowed"
            return PlainTextResponse(text, status, headers)
        return _json(ollama_body(message), status, headers)
    code = {401: "invalid_api_key", 404: "unknown_url", 405: "method_not_supported"}.get(status)
    return _json(openai_body(message, status, code=code), status, headers)


def _json(body: Mapping[str, object], status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json_bytes(body), status, headers, media_type="application/json")
