"""OpenAI's /v1/files: files that clients send, to be put into vector stores."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, MutableMapping
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive

from puna.errors import InvalidRequest
from puna.rag.extra import needs_extra
from puna.rag.reading import MAX_BYTES
from puna.server.body import Body
from puna.server.caller import key_of, strict_asked
from puna.server.documents import Documents
from puna.server.errors import BodyTooLargeError
from puna.server.keys import Key
from puna.server.openai.stored import PAGE_PARAMETERS, Page
from puna.server.openai.wire import json_reply
from puna.server.openapi import request_body
from puna.server.replies import warning_headers
from puna.server.uploads import Upload

PATH = "/v1/files"
PURPOSES = ("assistants", "user_data")
FORM_BYTES = 1 << 20  # of a form besides its file
PIECE = 1 << 20  # bytes


class FileBody(Body):
    """POST /v1/files."""

    file: str = Field(description="The file.", json_schema_extra={"format": "binary"})
    purpose: str = Field(description="`assistants` or `user_data`: what it is for, which changes nothing here.")


def routes(documents: Documents) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post(PATH, openapi_extra=request_body(FileBody, "multipart/form-data"))
    async def upload(request: Request) -> Response:
        """Send a file, as a form."""
        async with _form(request) as form:
            file, purpose = form.get("file"), form.get("purpose")
            if not isinstance(file, UploadFile):
                raise InvalidRequest("file is required: send it as a part of a form (multipart/form-data)")
            if purpose not in PURPOSES:
                raise InvalidRequest(f"purpose must be one of {', '.join(PURPOSES)}, not {purpose!r}")
            warnings = [
                f"field {name!r} is unknown: it was ignored" for name in form if name not in ("file", "purpose")
            ]
            if warnings and strict_asked(request):
                raise InvalidRequest("; ".join(warnings))
            owner = key_of(request).name
            kept = await documents.uploads.add(file.filename or "", _pieces(file), str(purpose), owner)
        return json_reply(file_object(kept), warning_headers(warnings))

    @router.get(PATH, openapi_extra={"parameters": PAGE_PARAMETERS})
    async def listed(request: Request) -> Response:
        """The files, the newest first; `purpose`, `after`, `limit` and `order` choose."""
        page = Page.asked(request.query_params, order="desc")
        purpose = request.query_params.get("purpose")
        found = await documents.service.call(documents.uploads.list, owner_of(key_of(request)))
        return json_reply(page.of([file_object(each) for each in found if purpose in (None, each.purpose)]))

    @router.get(PATH + "/{file_id}")
    async def retrieve(request: Request, file_id: str) -> Response:
        """What is known of a file."""
        return json_reply(file_object(documents.uploads.get(file_id, owner_of(key_of(request)))))

    @router.get(PATH + "/{file_id}/content")
    async def content(request: Request, file_id: str) -> Response:
        """The file itself."""
        owner = owner_of(key_of(request))
        upload = documents.uploads.get(file_id, owner)
        data = await documents.service.call(documents.uploads.content, file_id, owner)
        # Never shown by a browser as a page of this server's.
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(upload.name)}",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(data, headers=headers, media_type="application/octet-stream")

    @router.delete(PATH + "/{file_id}")
    async def delete(request: Request, file_id: str) -> Response:
        """Remove a file, and what vector stores have of it."""
        key = key_of(request)
        documents.uploads.get(file_id, owner_of(key))
        await documents.service.call(documents.forget, file_id, key)
        return json_reply({"id": file_id, "object": "file", "deleted": True})

    return router


def file_object(upload: Upload) -> dict[str, Any]:
    """As OpenAI writes it."""
    return {
        "id": upload.id,
        "object": "file",
        "bytes": upload.size,
        "created_at": upload.created,
        "expires_at": None,
        "filename": upload.name,
        "purpose": upload.purpose,
        "status": "processed",
        "status_details": None,
    }


def owner_of(key: Key) -> str | None:
    """Whose files a key may see; None: all."""
    return None if key.is_operator else key.name


class _form:  # noqa: N801  used like a function
    """The request's form, read up to a limit; what it holds is gone afterwards. Raises InvalidRequest."""

    def __init__(self, request: Request) -> None:
        with needs_extra():
            import python_multipart  # noqa: F401  starlette would say it in its own words
        self._request = request
        self._form: FormData | None = None

    async def __aenter__(self) -> FormData:
        kind = self._request.headers.get("content-type", "")
        if not re.match(r"multipart/form-data\s*;", kind, re.IGNORECASE):
            raise InvalidRequest("send the file as a form: multipart/form-data with the parts file and purpose")
        limited = Request(self._request.scope, _limited(self._request.receive, MAX_BYTES + FORM_BYTES))
        try:
            self._form = await limited.form(max_files=1, max_fields=20)
        except HTTPException as error:
            raise InvalidRequest(f"the form cannot be read: {error.detail}") from None
        return self._form

    async def __aexit__(self, *_: object) -> None:
        if self._form is not None:
            await self._form.close()


def _limited(receive: Receive, limit: int) -> Receive:
    size = 0

    async def receiving() -> MutableMapping[str, Any]:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise BodyTooLargeError(f"the file is larger than {MAX_BYTES >> 20} MiB")
        return message

    return receiving


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(PIECE):
        yield piece
