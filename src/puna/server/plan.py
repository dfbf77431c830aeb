"""/api/plan: whether a model fits and how fast it will be, before it is pulled. Translates, no more."""

from __future__ import annotations

import threading

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from puna import hardware
from puna.planner import here, report
from puna.planner.anatomy import anatomy_of
from puna.planner.devices import device_named
from puna.planner.plan import default_load, plan
from puna.server.body import Integer, read
from puna.server.encoding import json_bytes
from puna.server.live import Service
from puna.server.ollama_requests import ModelBody, unknown_warnings
from puna.server.openapi import request_body
from puna.server.replies import warning_headers
from puna.store.headers import header

MOST_DEVICES = 32


class PlanBody(ModelBody):
    """/api/plan."""

    devices: list[str] = Field(
        default_factory=list, max_length=MOST_DEVICES, description="Devices by name; none: this machine."
    )
    context: Integer | None = Field(default=None, ge=1, description="Tokens of context. (the trained ones, up to 8192)")
    parallel: Integer = Field(default=1, ge=1, description="Answers at once, each with such a context.")
    kv_type: str = Field(default="f16", description="Type of the KV cache: `f16`, `q8_0` or `f32`.")
    insecure: bool = Field(default=False, description="Allow a registry without TLS.")

    def warnings(self) -> tuple[str, ...]:
        """Fields that are not known."""
        return unknown_warnings(self)


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/api/plan", openapi_extra=request_body(PlanBody))
    async def plan_model(request: Request) -> Response:
        """Whether a model fits, and how fast it will be: from its header, here or where it would be pulled from."""
        body = await read(request, PlanBody)
        reply = await service.call(_plan, service, body)
        return Response(json_bytes(reply), headers=warning_headers(body.warnings()), media_type="application/json")

    return router


def _plan(service: Service, body: PlanBody) -> dict[str, object]:
    machines = [device_named(name).rates() for name in body.devices] or [here.rates(hardware.threads())]
    name = body.required_model()
    with header(service.runtime.store, name, insecure=body.insecure, cancelled=threading.Event()) as file:
        anatomy = anatomy_of(file)
        load = default_load(anatomy, context=body.context, sequences=body.parallel, kv_type=body.kv_type)
        plans = [plan(file, rates, load, correct=not body.devices) for rates in machines]
    return {**report.document(name, anatomy, plans), "warnings": list(body.warnings())}
