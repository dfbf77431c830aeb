"""Ollama's routes that change the model store: copy, delete, blobs. Translates, no more."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from puna.errors import DigestMismatch, InvalidRequest, ModelNotFound
from puna.server.body import Body, read
from puna.server.caller import key_of
from puna.server.errors import NotFoundError
from puna.server.live import Service
from puna.server.ollama_requests import ModelBody
from puna.server.openapi import request_body
from puna.store import ModelName
from puna.store.management import copy

PIECE = 4 << 20  # bytes of an upload that are written at once

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_BLOB_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class CopyBody(Body):
    """/api/copy."""

    source: str = Field(default="", description="The model's name.")
    destination: str = Field(default="", description="The name it is to have too.")

    def models(self) -> tuple[str, ...]:
        """Both names."""
        return tuple(name for name in (self.source, self.destination) if name)


class DeleteBody(ModelBody):
    """/api/delete."""


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/api/copy", openapi_extra=request_body(CopyBody))
    async def copy_model(request: Request) -> Response:
        """Give a model another name too."""
        body = await read(request, CopyBody)
        source, destination = (_name(field, getattr(body, field)) for field in ("source", "destination"))
        try:
            await service.call(copy, service.runtime.store, source, destination)
        except ModelNotFound:
            raise ModelNotFound(f'model "{body.source}" not found') from None
        return Response()

    @router.delete("/api/delete", openapi_extra=request_body(DeleteBody))
    async def delete(request: Request) -> Response:
        """Remove a model from this machine, and from memory."""
        body = await read(request, DeleteBody)
        try:
            await service.call(service.runtime.delete, body.required_model())
        except ModelNotFound:
            raise ModelNotFound(f"model '{body.model}' not found") from None
        return Response()

    @router.head("/api/blobs/{digest}", include_in_schema=False)
    async def has_blob(request: Request, digest: str) -> Response:
        """Whether the store has a file of that digest."""
        if not _has_blob(service, request, digest):
            raise NotFoundError(f'blob "{digest}" not found')
        return Response()

    @router.post("/api/blobs/{digest}", openapi_extra=_BLOB_BODY)
    async def put_blob(request: Request, digest: str) -> Response:
        """Upload a file to create a model from: 201, or 200 where the store has it."""
        if _has_blob(service, request, digest):
            return Response()
        try:
            await _receive(service, request, _hex(digest))
        except DigestMismatch as error:
            raise InvalidRequest(str(error)) from None
        return Response(status_code=201)

    return router


def _name(field: str, text: str) -> ModelName:
    try:
        return ModelName.parse(text)
    except InvalidRequest:
        raise InvalidRequest(f'{field} "{text}" is invalid') from None


def _hex(digest: str) -> str:
    """The digits of a digest in a path. Raises InvalidRequest."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise InvalidRequest("invalid digest format: it must be sha256: and 64 hexadecimal digits")
    return match[1]


def _has_blob(service: Service, request: Request, digest: str) -> bool:
    """A key for some models learns of no other's files."""
    known = service.runtime.store.blobs.has(_hex(digest))
    return known and not key_of(request).models


async def _receive(service: Service, request: Request, digest: str) -> None:
    """Store the request's body, piece by piece. Raises DigestMismatch, StoreError, ClientDisconnect."""
    with await service.call(service.runtime.store.blobs.writer) as writer:
        piece = bytearray()
        async for chunk in request.stream():
            piece += chunk
            if len(piece) >= PIECE:
                await service.call(writer.write, bytes(piece))
                piece.clear()
        await service.call(writer.write, bytes(piece))
        await service.call(writer.finish, digest)
