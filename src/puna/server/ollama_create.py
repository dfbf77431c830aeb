"""Ollama's route that makes models of other models and of files. Translates, no more.

It opens no path: files are blobs that were uploaded before.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from puna.errors import InvalidRequest
from puna.runtime.parameters import parse_parameters
from puna.server.body import PunaBody, read
from puna.server.caller import key_of
from puna.server.errors import ForbiddenError
from puna.server.live import Service
from puna.server.ollama_messages import MessageBody
from puna.server.ollama_requests import ModelBody, unknown_warnings
from puna.server.openapi import request_body
from puna.server.operations import respond
from puna.server.replies import refuse_if_strict
from puna.store import ModelName
from puna.store.create import create
from puna.store.create_request import CreateRequest
from puna.store.progress import Progress, Report
from puna.store.pulling import pull

Files = dict[str, str]


class CreateBody(ModelBody):
    """/api/create."""

    stream: bool = Field(default=True, description="Report progress as lines of JSON.")
    from_: str = Field(
        default="", alias="from", description="The model that it is made from; pulled where it is not here."
    )
    files: Files = Field(default_factory=dict, description="Names of files, and the digests of their blobs.")
    adapters: Files = Field(
        default_factory=dict,
        description="The same for a LoRA adapter: a GGUF file, or the files of a PEFT folder. Models that differ in "
        "their adapters share one copy of the base's weights; a request chooses by the model's name.",
    )
    draft_files: Files = Field(default_factory=dict, description="The same for a draft model.")
    quantize: str = Field(default="", description="The type to quantise the weights to, such as Q4_K_M.")
    quantization: str = Field(default="", description="The old name of quantize.")
    draft_quantize: str = Field(default="", description="The type to quantise the draft model to.")
    template: str = Field(default="", description="Its prompt template, in Go's language.")
    license: str | list[str] = Field(default="", description="Its licences, beside those of what it is made from.")
    system: str = Field(default="", description="Its system prompt.")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Its own options, over those of what it is made from."
    )
    messages: list[MessageBody] = Field(
        default_factory=list, description="Messages that come before every conversation."
    )
    renderer: str = Field(default="", description="Kept for Ollama: prompts are written by the template here.")
    parser: str = Field(default="", description="Kept for Ollama: answers are read as the template shows them here.")
    requires: str = Field(default="", description="The version of Ollama that it asks for, such as 0.14.0.")
    info: dict[str, Any] = Field(
        default_factory=dict,
        description="What is said of it: capabilities, model_family, base_name, quantization_level, parameter_size, "
        "context_length, embedding_length.",
    )
    remote_host: str = Field(default="", description="Not supported: models run on this machine.")
    puna: PunaBody = Field(default=PunaBody(), description="Whether to be strict.")

    def models(self) -> tuple[str, ...]:
        """The new one and the one it is made from."""
        return tuple(name for name in (self.model, self.from_) if name)

    def request(self) -> tuple[CreateRequest, tuple[str, ...]]:
        """As the store takes it, with warnings. Raises InvalidRequest."""
        ModelName.parse(self.required_model())
        if self.remote_host:
            raise InvalidRequest("remote_host is not supported: models run on this machine")
        if not self.from_ and not self.files:
            raise InvalidRequest("neither 'from' or 'files' was specified")
        parameters = {name: value for name, value in self.parameters.items() if value is not None}
        warnings = (*unknown_warnings(self), *parse_parameters(parameters)[1], *_message_warnings(self.messages))
        if self.from_ and self.files:
            warnings += ("files has no effect beside from: it was ignored",)
        refuse_if_strict(self.puna, warnings)
        licenses = [self.license] if isinstance(self.license, str) else self.license
        return CreateRequest(
            self.model,
            from_=self.from_,
            files={} if self.from_ else self.files,
            adapters=self.adapters,
            draft_files=self.draft_files,
            quantize=self.quantize or self.quantization,
            draft_quantize=self.draft_quantize,
            template=self.template,
            system=self.system,
            licenses=tuple(text for text in licenses if text),
            parameters=parameters,
            messages=[{"role": each.message().role, "content": each.content} for each in self.messages],
            renderer=self.renderer,
            parser=self.parser,
            requires=self.requires,
            info=self.info,
        ), warnings


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/api/create", openapi_extra=request_body(CreateBody))
    async def create_model(request: Request) -> Response:
        """Make a model of another, or of uploaded files. NDJSON unless told not to."""
        body = await read(request, CreateBody)
        if key_of(request).models and (body.files or body.adapters or body.draft_files):
            raise ForbiddenError("this key is for some models only: it cannot make models of files")
        asked, warnings = body.request()

        def work(report: Report, cancelled: threading.Event) -> None:
            store = service.runtime.store
            bring = partial(pull, store, report=report, cancelled=cancelled)
            create(store, asked, pull=bring, report=report, cancelled=cancelled)
            for warning in warnings:
                report(Progress("writing manifest", warning=warning))

        return await respond(service, request, work, stream=body.stream)

    return router


def _message_warnings(messages: list[MessageBody]) -> tuple[str, ...]:
    """A message of a model is its role and its text."""
    lost = ("thinking", "images", "tool_calls", "tool_name", "tool_call_id")
    found = dict.fromkeys(name for message in messages for name in lost if getattr(message, name))
    return tuple(f"messages.{name} is not kept with a model: it was ignored" for name in found)
