"""OpenAI's /v1/vector_stores over the documents: translates, and remembers batches until the server ends."""

from __future__ import annotations

import uuid
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from puna.errors import InvalidRequest
from puna.rag import CollectionInfo, Document
from puna.server.body import Body, read
from puna.server.caller import key_of, strict_asked
from puna.server.documents import Documents, Found, require
from puna.server.errors import NotFoundError
from puna.server.keys import Key
from puna.server.openai.stored import PAGE_PARAMETERS, Page
from puna.server.openai.vector_store_requests import (
    AttachBody,
    AttributesBody,
    BatchBody,
    SearchBody,
    StoreBody,
    UpdateStoreBody,
    checked_attributes,
)
from puna.server.openai.wire import json_reply
from puna.server.openapi import request_body
from puna.server.replies import warning_headers

PATH = "/v1/vector_stores"
STORE = PATH + "/{vector_store_id}"
FILE = STORE + "/files/{file_id}"
BATCH = STORE + "/file_batches/{batch_id}"
STATUSES = ("in_progress", "completed", "failed", "cancelled")
MAX_BATCHES = 1000  # remembered
_FILTER = {
    "name": "filter",
    "in": "query",
    "description": "Only files of this status.",
    "schema": {"type": "string", "enum": list(STATUSES)},
}
_PAGE = {"parameters": PAGE_PARAMETERS}
_FILES = {"parameters": [_FILTER, *PAGE_PARAMETERS]}


def routes(documents: Documents) -> APIRouter:
    """The routes."""
    router = APIRouter()
    router.include_router(_store_routes(documents))
    router.include_router(_file_routes(documents))
    router.include_router(_batch_routes(documents))
    return router


def _store_routes(documents: Documents) -> APIRouter:
    router = APIRouter()
    call = documents.service.call

    @router.post(PATH, openapi_extra=request_body(StoreBody))
    async def create(request: Request) -> Response:
        """Make a vector store, for one embedding model."""
        body = await read(request, StoreBody)
        body.checked()
        warnings = _warnings(request, body, {"description is not supported": body.description})
        key, days = key_of(request), body.expires_after.days if body.expires_after else None
        for file_id in body.file_ids:
            documents.uploads.get(file_id, None if key.is_operator else key.name)
        info = await call(documents.create, body.name or "", body.model, key, body.metadata or {}, days)
        for file_id in body.file_ids:
            await call(documents.attach, info, file_id, key, {}, body.chunking_strategy.lengths())
        return json_reply(await call(_store_object, documents, info), warning_headers(warnings))

    @router.get(PATH, openapi_extra=_PAGE)
    async def listed(request: Request) -> Response:
        """The vector stores, the newest first; `after`, `limit` and `order` choose."""
        page = Page.asked(request.query_params, order="desc")
        infos = await call(documents.visible, key_of(request))
        chosen = page.of([{"id": info.id, "info": info} for info in infos])
        objects = [await call(_store_object, documents, each["info"]) for each in chosen["data"]]
        return json_reply({**chosen, "data": objects})

    @router.get(STORE)
    async def retrieve(request: Request, vector_store_id: str) -> Response:
        """A vector store, by its id or name."""
        info = await call(documents.find, vector_store_id, key_of(request))
        return json_reply(await call(_store_object, documents, info))

    @router.post(STORE, openapi_extra=request_body(UpdateStoreBody))
    async def update(request: Request, vector_store_id: str) -> Response:
        """Change its name, its metadata or when it expires."""
        body = await read(request, UpdateStoreBody)
        body.checked()
        warnings = _warnings(request, body)
        info = await call(documents.find, vector_store_id, key_of(request))
        changed = replace(
            info,
            name=info.name if body.name is None else body.name,
            metadata=info.metadata if body.metadata is None else body.metadata,
            expires_days=body.expires_after.days if body.expires_after else info.expires_days,
        )
        await call(documents.collections.save, changed)
        return json_reply(await call(_store_object, documents, changed), warning_headers(warnings))

    @router.delete(STORE)
    async def delete(request: Request, vector_store_id: str) -> Response:
        """Remove a vector store; its files stay."""
        info = await call(documents.find, vector_store_id, key_of(request))
        await call(documents.collections.delete, info)
        return json_reply({"id": info.id, "object": "vector_store.deleted", "deleted": True})

    @router.post(STORE + "/search", openapi_extra=request_body(SearchBody))
    async def search(request: Request, vector_store_id: str) -> Response:
        """Search a vector store by meaning and by words; the best passages first."""
        body = await read(request, SearchBody)
        warnings = _warnings(request, body, {"rewrite_query is not supported": body.rewrite_query})
        key = key_of(request)
        documents.service.accounting.check_budget(key)
        info = await call(documents.find, vector_store_id, key)
        embedder = await call(documents.embedder_for, [info], key)
        found = await call(documents.search, [info], body.query(body.text), embedder)
        reply = {
            "object": "vector_store.search_results.page",
            "search_query": [body.text] if isinstance(body.query_, str) else body.query_,
            "data": [result_object(each) for each in found],
            "has_more": False,
            "next_page": None,
        }
        return json_reply(reply, warning_headers(warnings))

    return router


def _file_routes(documents: Documents) -> APIRouter:
    router = APIRouter()
    call = documents.service.call

    @router.post(STORE + "/files", openapi_extra=request_body(AttachBody))
    async def attach(request: Request, vector_store_id: str) -> Response:
        """Index a file; its `status` says when it is done."""
        body = await read(request, AttachBody)
        warnings = _warnings(request, body)
        key = key_of(request)
        info = await call(documents.find, vector_store_id, key)
        document = await call(_attach, documents, info, body, key)
        return json_reply(_file_object(info, document), warning_headers(warnings))

    @router.get(STORE + "/files", openapi_extra=_FILES)
    async def listed(request: Request, vector_store_id: str) -> Response:
        """Its files, the newest first; `filter`, `after`, `limit` and `order` choose."""
        info, found = await call(_documents, documents, vector_store_id, key_of(request))
        return json_reply(_file_page(request, info, found))

    @router.get(FILE)
    async def retrieve(request: Request, vector_store_id: str, file_id: str) -> Response:
        """A file of a vector store."""
        info = await call(documents.find, vector_store_id, key_of(request))
        collection = await call(documents.collections.open, info)
        return json_reply(_file_object(info, await call(require, collection, file_id)))

    @router.post(FILE, openapi_extra=request_body(AttributesBody))
    async def update(request: Request, vector_store_id: str, file_id: str) -> Response:
        """Other attributes for a file."""
        body = await read(request, AttributesBody)
        warnings = _warnings(request, body)
        info = await call(documents.find, vector_store_id, key_of(request))
        document = await call(documents.update, info, file_id, checked_attributes(body.attributes))
        return json_reply(_file_object(info, document), warning_headers(warnings))

    @router.get(FILE + "/content")
    async def content(request: Request, vector_store_id: str, file_id: str) -> Response:
        """A file's text, as the passages that are searched."""
        info = await call(documents.find, vector_store_id, key_of(request))
        collection = await call(documents.collections.open, info)
        await call(require, collection, file_id)
        passages = await call(collection.passages, file_id)
        data = [{"type": "text", "text": passage.text} for passage in passages]
        page = {"object": "vector_store.file_content.page", "data": data, "has_more": False, "next_page": None}
        return json_reply(page)

    @router.delete(FILE)
    async def delete(request: Request, vector_store_id: str, file_id: str) -> Response:
        """Remove a file from a vector store; the file itself stays."""
        info = await call(documents.find, vector_store_id, key_of(request))
        await call(documents.detach, info, file_id)
        return json_reply({"id": file_id, "object": "vector_store.file.deleted", "deleted": True})

    return router


@dataclass(frozen=True, slots=True)
class _Batch:
    """Files that were attached together."""

    store: str
    files: tuple[str, ...]
    created: int


def _batch_routes(documents: Documents) -> APIRouter:
    router = APIRouter()
    call = documents.service.call
    batches: OrderedDict[str, _Batch] = OrderedDict()

    def batch_of(info: CollectionInfo, batch_id: str) -> _Batch:
        batch = batches.get(batch_id)
        if batch is None or batch.store != info.id:
            raise NotFoundError(f"there is no batch {batch_id!r}: batches are known until the server ends")
        return batch

    @router.post(STORE + "/file_batches", openapi_extra=request_body(BatchBody))
    async def create(request: Request, vector_store_id: str) -> Response:
        """Index several files."""
        body = await read(request, BatchBody)
        warnings, asked, key = _warnings(request, body), body.each(), key_of(request)
        info = await call(documents.find, vector_store_id, key)
        for each in asked:  # all or none
            documents.uploads.get(each.file_id, None if key.is_operator else key.name)
        attached = [await call(_attach, documents, info, each, key) for each in asked]
        batch_id = f"vsfb_{uuid.uuid4().hex}"
        batch = batches[batch_id] = _Batch(info.id, tuple(each.id for each in attached), attached[0].created)
        if len(batches) > MAX_BATCHES:
            batches.popitem(last=False)
        return json_reply(_batch_object(batch_id, batch, attached), warning_headers(warnings))

    @router.get(BATCH)
    async def retrieve(request: Request, vector_store_id: str, batch_id: str) -> Response:
        """How far a batch is."""
        info, found = await call(_documents, documents, vector_store_id, key_of(request))
        batch = batch_of(info, batch_id)
        return json_reply(_batch_object(batch_id, batch, [each for each in found if each.id in batch.files]))

    @router.get(BATCH + "/files", openapi_extra=_FILES)
    async def listed(request: Request, vector_store_id: str, batch_id: str) -> Response:
        """A batch's files; `filter`, `after`, `limit` and `order` choose."""
        info, found = await call(_documents, documents, vector_store_id, key_of(request))
        batch = batch_of(info, batch_id)
        return json_reply(_file_page(request, info, [each for each in found if each.id in batch.files]))

    return router


def _attach(documents: Documents, info: CollectionInfo, body: AttachBody, key: Key) -> Document:
    attributes = checked_attributes(body.attributes)
    return documents.attach(info, body.file_id, key, attributes, body.chunking_strategy.lengths())


def _documents(documents: Documents, store: str, key: Key) -> tuple[CollectionInfo, list[Document]]:
    info = documents.find(store, key)
    return info, documents.collections.open(info).documents()


def _file_page(request: Request, info: CollectionInfo, found: Sequence[Document]) -> dict[str, Any]:
    page = Page.asked(request.query_params, order="desc")
    status = request.query_params.get("filter")
    if status not in (None, *STATUSES):
        raise InvalidRequest(f"filter must be one of {', '.join(STATUSES)}, not {status!r}")
    return page.of([_file_object(info, each) for each in found if status in (None, each.status)])


def _warnings(request: Request, body: Body, ignored: Mapping[str, object] | None = None) -> list[str]:
    """What of a body is not honoured. Raises InvalidRequest in strict mode."""
    warnings = [warning for warning, asked in (ignored or {}).items() if asked]
    warnings += [f"field {name!r} is unknown: it was ignored" for name in body.unknown()]
    if warnings and strict_asked(request):
        raise InvalidRequest("; ".join(warnings))
    return warnings


def _store_object(documents: Documents, info: CollectionInfo) -> dict[str, Any]:
    found = [] if info.expired else documents.collections.open(info).documents()
    counts = Counter[str](document.status for document in found)
    status = "expired" if info.expired else "in_progress" if counts["in_progress"] else "completed"
    expires_after = {"anchor": "last_active_at", "days": info.expires_days} if info.expires_days else None
    return {
        "id": info.id,
        "object": "vector_store",
        "created_at": info.created,
        "name": info.name,
        "usage_bytes": sum(document.size for document in found),
        "file_counts": _counts(counts),
        "status": status,
        "expires_after": expires_after,
        "expires_at": info.expires,
        "last_active_at": info.active,
        "metadata": dict(info.metadata),
        "model": info.pin.model,
    }


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {**{status: counts.get(status, 0) for status in STATUSES}, "total": sum(counts.values())}


def _file_object(info: CollectionInfo, document: Document) -> dict[str, Any]:
    failure = document.failure
    lengths = {"max_chunk_size_tokens": document.chunk_tokens, "chunk_overlap_tokens": document.overlap_tokens}
    return {
        "id": document.id,
        "object": "vector_store.file",
        "created_at": document.created,
        "usage_bytes": document.size,
        "vector_store_id": info.id,
        "status": document.status,
        "last_error": failure and {"code": failure.code, "message": failure.message},
        "chunking_strategy": {"type": "static", "static": lengths},
        "attributes": dict(document.attributes),
        "filename": document.name,
    }


def _batch_object(batch_id: str, batch: _Batch, found: Sequence[Document]) -> dict[str, Any]:
    counts = Counter[str](document.status for document in found)
    return {
        "id": batch_id,
        "object": "vector_store.file_batch",
        "created_at": batch.created,
        "vector_store_id": batch.store,
        "status": "in_progress" if counts["in_progress"] else "completed",
        "file_counts": _counts(counts),
    }


def result_object(found: Found) -> dict[str, Any]:
    """A passage as a search's result."""
    return {
        "file_id": found.document.id,
        "filename": found.document.name,
        "score": round(found.hit.score, 6),
        "attributes": dict(found.document.attributes),
        "content": [{"type": "text", "text": found.hit.passage.text}],
        "heading": found.hit.passage.heading,
        "place": found.hit.passage.place,
    }
