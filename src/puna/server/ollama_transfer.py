"""Ollama's routes that move models between this machine and others: pull and push. Translates, no more."""

from __future__ import annotations

import threading

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from puna.server.body import read
from puna.server.live import Service
from puna.server.ollama_requests import ModelBody
from puna.server.openapi import request_body
from puna.server.operations import respond
from puna.store.progress import Progress, Report
from puna.store.pulling import check_name
from puna.store.pulling import pull as pull_model
from puna.store.registry.pushing import name_to_push
from puna.store.registry.pushing import push as push_model


class TransferBody(ModelBody):
    """/api/pull and /api/push."""

    stream: bool = Field(default=True, description="Report progress as lines of JSON.")
    insecure: bool = Field(default=False, description="Allow a registry without TLS.")
    username: str = Field(default="", description="No effect, as in Ollama.")
    password: str = Field(default="", description="No effect, as in Ollama.")


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/api/pull", openapi_extra=request_body(TransferBody))
    async def pull(request: Request) -> Response:
        """Bring a model to this machine. NDJSON unless told not to; a client that goes away ends it."""
        body = await read(request, TransferBody)
        check_name(body.model)

        def work(report: Report, cancelled: threading.Event) -> None:
            _warn_of_login(body, "pulling manifest", report)
            pull_model(service.runtime.store, body.model, insecure=body.insecure, report=report, cancelled=cancelled)

        return await respond(service, request, work, stream=body.stream)

    @router.post("/api/push", openapi_extra=request_body(TransferBody))
    async def push(request: Request) -> Response:
        """Send a model to its name's registry. NDJSON unless told not to; a client that goes away ends it."""
        body = await read(request, TransferBody)
        name = name_to_push(body.required_model(), insecure=body.insecure)

        def work(report: Report, cancelled: threading.Event) -> None:
            _warn_of_login(body, "retrieving manifest", report)
            push_model(service.runtime.store, name, insecure=body.insecure, report=report, cancelled=cancelled)

        return await respond(service, request, work, stream=body.stream)

    return router


def _warn_of_login(body: TransferBody, status: str, report: Report) -> None:
    if body.username or body.password:
        report(Progress(status, warning="username and password have no effect: they were ignored"))
