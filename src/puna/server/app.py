"""The application: every route, behind the guard, with every error in its dialect's shape."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from puna.errors import PunaError
from puna.runtime import Runtime
from puna.server import errors, ollama, ollama_models, openai
from puna.server.live import Service
from puna.server.security import Guard


def create_app(
    runtime: Runtime,
    *,
    api_key: str | None = None,
    loopback: bool = True,
    origins: Sequence[str] = (),
    max_queue: int | None = None,
) -> FastAPI:
    """The server's ASGI application. It does not close `runtime`.

    Args:
        api_key: the Bearer key asked for on every route but `/`; None: none.
        loopback: the server listens on loopback only; then a foreign Host is refused.
        origins: web origins allowed besides local ones.
        max_queue: requests held at once before the reply is 503 (512).
    """
    service = Service(runtime, max_queue=max_queue)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    # No /docs: its page would load scripts from another host.
    app = FastAPI(title="Puna", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.service = service
    app.add_middleware(Guard, api_key=api_key, loopback=loopback, origins=origins)
    app.include_router(ollama_models.routes(service))
    app.include_router(ollama.routes(service))
    app.include_router(openai.routes(service))
    app.add_exception_handler(PunaError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(Exception, _on_bug)
    return app


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PunaError)
    return errors.response(request.url.path, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """The router's own: no such route, wrong method."""
    assert isinstance(error, HTTPException)
    message = {404: f"there is no {request.url.path} here", 405: f"{request.method} is not possible here"}
    text = message.get(error.status_code, str(error.detail))
    return errors.refusal(request.url.path, error.status_code, text, error.headers)


async def _on_gone(_request: Request, _error: Exception) -> Response:
    """The client went away before its request was read; nobody reads this."""
    return Response(status_code=400)


async def _on_bug(request: Request, error: Exception) -> Response:
    """Whatever else went wrong is our fault; the log has the traceback."""
    return errors.refusal(request.url.path, 500, f"internal error: {type(error).__name__}: {error}")
