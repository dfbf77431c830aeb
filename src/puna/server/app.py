"""The application: every route, behind the guard, with every error in its dialect's shape."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from puna.errors import InvalidRequest, ModelNotFound, PunaError
from puna.runtime import Runtime
from puna.server import (
    anthropic,
    errors,
    monitoring,
    ollama,
    ollama_create,
    ollama_embeddings,
    ollama_models,
    ollama_store,
    ollama_transfer,
    openai,
    openapi,
    plan,
    rerank,
    tokens,
    web,
)
from puna.server.accounting import Accounting
from puna.server.accounts import Accounts
from puna.server.caller import key_of
from puna.server.documents import Documents
from puna.server.idempotency import Idempotency
from puna.server.keyring import KeyRing
from puna.server.live import Service
from puna.server.metrics import CountRequests, Metrics
from puna.server.ollama_models import version_number
from puna.server.security import Guard

DESCRIPTION = """Large language models on this machine.

Bodies are JSON whatever their Content-Type; null is as if the field were not there. A field that is unknown or cannot
be honoured is named in the reply's `warnings` and in the header `x-puna-warnings`; in strict mode it is refused."""


def create_app(
    runtime: Runtime,
    accounts: Accounts,
    *,
    api_key: str | None = None,
    keys_required: bool | None = None,
    strict: bool = False,
    loopback: bool = True,
    origins: Sequence[str] = (),
    max_queue: int | None = None,
) -> FastAPI:
    """The server's ASGI application. It closes neither `runtime` nor `accounts`.

    Args:
        api_key: the server's own key, beside those of `accounts`; None: none.
        keys_required: whether `/` and `/health` are all there is without a key; None: once there is a key.
        strict: refuse every request of which something would be ignored.
        loopback: the server listens on loopback only; then a foreign Host is refused.
        origins: web origins allowed besides local ones.
        max_queue: requests held at once before the reply is 503 (512).
    """
    metrics = Metrics()
    service = Service(runtime, Accounting(accounts.ledger, metrics), max_queue=max_queue)

    documents = Documents(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        documents.close()
        service.close()

    # FastAPI's own page at /docs would load scripts from another host.
    app = FastAPI(
        title="Puna",
        version=version_number(),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.add_middleware(Idempotency)
    app.state.strict = strict
    keys = KeyRing(accounts, api_key=api_key, required=keys_required)
    app.add_middleware(Guard, keys=keys, loopback=loopback, origins=origins)
    app.add_middleware(CountRequests, metrics=metrics)
    app.include_router(web.routes())  # first: the page's files are asked for forty at a time
    app.include_router(ollama_models.routes(service))
    app.include_router(ollama.routes(service, documents))
    app.include_router(ollama_embeddings.routes(service))
    app.include_router(ollama_store.routes(service))
    app.include_router(ollama_transfer.routes(service))
    app.include_router(ollama_create.routes(service))
    app.include_router(openai.routes(service, documents))
    app.include_router(anthropic.routes(service))
    app.include_router(tokens.routes(service))
    app.include_router(plan.routes(service))
    app.include_router(rerank.routes(service))
    app.include_router(monitoring.routes(service))
    app.include_router(openapi.routes())
    app.add_exception_handler(PunaError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_parameter)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(Exception, _on_bug)
    return app


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PunaError)
    if isinstance(error, ModelNotFound) and key_of(request).models:
        error = ModelNotFound(str(error).partition(" not found")[0] + " not found")  # the rest names other models
    return errors.response(errors.dialect(request.scope), error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """The router's own: no such route, wrong method."""
    assert isinstance(error, HTTPException)
    message = {404: f"there is no {request.url.path} here", 405: f"{request.method} is not possible here"}
    text = message.get(error.status_code, str(error.detail))
    return errors.refusal(errors.dialect(request.scope), error.status_code, text, error.headers)


async def _on_parameter(request: Request, error: Exception) -> Response:
    """A parameter of the path or the query has a wrong value."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = first["loc"][-1]
    wrong = InvalidRequest(f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}")
    return errors.response(errors.dialect(request.scope), wrong)


async def _on_gone(_request: Request, _error: Exception) -> Response:
    """The client went away before its request was read; nobody reads this."""
    return Response(status_code=400)


async def _on_bug(request: Request, error: Exception) -> Response:
    """Whatever else went wrong is our fault; the log has the traceback."""
    return errors.refusal(errors.dialect(request.scope), 500, f"internal error: {type(error).__name__}: {error}")
