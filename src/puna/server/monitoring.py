"""Puna's own routes about itself: /health, /metrics, /api/usage."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from puna.server.caller import key_of
from puna.server.encoding import json_bytes
from puna.server.ledger import Entry, Use
from puna.server.live import Service

MOST_DAYS = 3660

Days = Annotated[int, Query(ge=1, le=MOST_DAYS, description="How many days back, today (UTC) included.")]


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        """Whether the server answers. Needs no key."""
        return _json({"status": "ok"})

    @router.get("/metrics")
    async def metrics() -> Response:
        """Counters and histograms in Prometheus's text format. For the operator, and keys made for this route."""
        return Response(await service.call(_metrics, service), media_type=CONTENT_TYPE_LATEST)

    @router.get("/api/usage")
    async def usage(request: Request, days: Days = 30) -> Response:
        """What was used, by day (UTC), key and model: a key sees its own usage, the operator that of all keys."""
        key = key_of(request)
        own = None if key.is_operator else key.name
        ledger = service.accounting.ledger
        entries = await service.call(ledger.entries, days=days, key=own)
        reply: dict[str, object] = {
            "usage": [_entry(entry) for entry in entries],
            "total": asdict(sum((entry.use for entry in entries), Use())),
        }
        if not key.is_operator:
            reply["today"] = {"used_tokens": ledger.used_today(key.name), "budget_tokens": key.budget}
        return _json(reply)

    return router


def _metrics(service: Service) -> bytes:
    runtime = service.runtime
    return service.accounting.metrics.text(held=service.held, parallel=runtime.num_parallel, loaded=runtime.ps())


def _entry(entry: Entry) -> dict[str, object]:
    return {"day": entry.day, "key": entry.key or None, "model": entry.model, **asdict(entry.use)}


def _json(value: dict[str, object]) -> Response:
    return Response(json_bytes(value), media_type="application/json")
