"""What the server has done, in Prometheus's text format: a registry of its own, counted per request, never per token.

Times come from `Usage`, which the engine measured; gauges are read when somebody looks. Knows nothing of routes but
their names.
"""

from __future__ import annotations

from collections.abc import Iterable

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from puna.runtime import LoadedStatus, Usage
from puna.server.openapi import document

# From an answer out of the prefix cache to a long prompt on a slow machine, in seconds.
_FIRST_TOKEN = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100)
_TOKENS_PER_SECOND = (1, 2, 5, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200, 500, 1000, 5000)


class Metrics:
    """Counters and histograms since the server began. Thread-safe."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        model = ["model"]
        self._requests = Counter(
            "puna_http_requests", "HTTP requests by route and status", ["method", "route", "status"], registry=registry
        )
        self._ended = Counter("puna_answers", "Answers by how they ended", ["model", "reason"], registry=registry)
        self._prompt = Counter("puna_prompt_tokens", "Tokens of prompts, with cached ones", model, registry=registry)
        self._cached = Counter("puna_cached_tokens", "Prompt tokens from the prefix cache", model, registry=registry)
        self._generated = Counter("puna_generated_tokens", "Tokens of answers", model, registry=registry)
        self._first = Histogram(
            "puna_time_to_first_token_seconds",
            "From a request's arrival to its first token: loading, waiting and the prompt",
            model,
            buckets=_FIRST_TOKEN,
            registry=registry,
        )
        self._rate = Histogram(
            "puna_tokens_per_second",
            "Tokens of one answer per second, from its first on",
            model,
            buckets=_TOKENS_PER_SECOND,
            registry=registry,
        )
        self._held = Gauge("puna_requests_held", "Requests the server holds, running or waiting", registry=registry)
        self._running = Gauge("puna_requests_running", "Requests a model is working on", model, registry=registry)
        self._waiting = Gauge("puna_requests_waiting", "Requests held that no model works on yet", registry=registry)
        self._loaded = Gauge("puna_model_loaded", "1 for each loaded model", model, registry=registry)
        self._memory = Gauge("puna_runner_resident_bytes", "Memory of a model's process", model, registry=registry)

    def request(self, method: str, route: str, status: int) -> None:
        """Count an HTTP request."""
        self._requests.labels(method, route, str(status)).inc()

    def answer(self, model: str, reason: str, prompt: int, cached: int, generated: int) -> None:
        """Count an answer and its tokens."""
        self._ended.labels(model, reason).inc()
        self._prompt.labels(model).inc(prompt)
        self._cached.labels(model).inc(cached)
        self._generated.labels(model).inc(generated)

    def speed(self, model: str, usage: Usage) -> None:
        """Note how long an answer took."""
        if not usage.completion_tokens:
            return
        self._first.labels(model).observe(usage.load_seconds + usage.queue_seconds + usage.prompt_seconds)
        if usage.decode_seconds > 0 and usage.completion_tokens > 1:
            self._rate.labels(model).observe((usage.completion_tokens - 1) / usage.decode_seconds)

    def text(self, *, held: int, parallel: int, loaded: Iterable[LoadedStatus]) -> bytes:
        """All of it as it is now. Blocks for as long as it takes to ask the system about each runner.

        held: requests of the server; parallel: of them, those that one model works on at once, at most.
        """
        for gauge in (self._running, self._loaded, self._memory):
            gauge.clear()
        running = 0
        for status in loaded:
            name = status.model.name
            busy = min(status.open_requests, parallel)
            running += busy
            self._running.labels(name).set(busy)
            self._loaded.labels(name).set(1)
            try:
                self._memory.labels(name).set(psutil.Process(status.pid).memory_info().rss)
            except psutil.NoSuchProcess:  # it ended just now
                self._memory.remove(name)
        self._held.set(held)
        self._waiting.set(max(0, held - running))
        return generate_latest(self._registry)


class CountRequests:
    """ASGI middleware: counts requests when their reply begins."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.request(_method(scope), _route(scope), message["status"])
            await send(message)

        await self._app(scope, receive, counting)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _method(scope: Scope) -> str:
    """A label must not be whatever a client sends."""
    return scope["method"] if scope["method"] in _METHODS else "other"


def _route(scope: Scope) -> str:
    """The path with its parameters' names, as it was declared; "none" for a request to no route."""
    route = scope.get("route")
    if isinstance(route, BaseRoute):
        return str(getattr(route, "path", "none"))
    return scope["path"] if scope["path"] in document(scope["app"])["paths"] else "none"  # it was stopped on its way
