"""OpenAI's API, /v1: translates to the runtime's requests and back, and keeps the answers it is told to.

models            /v1/models
chat              /v1/chat/completions
completions       /v1/completions
embeddings        /v1/embeddings
files             /v1/files
vector_stores     /v1/vector_stores
file_search       the tool of that name, of chat and responses
responses         /v1/responses
*_requests        their bodies; messages, tools, sampling, constraints: parts of these
response_events   an answer as /v1/responses streams it
stored            answers that can be asked for again
wire              JSON objects and server-sent events
"""

from __future__ import annotations

from fastapi import APIRouter

from puna.server.documents import Documents
from puna.server.live import Service
from puna.server.openai import chat, completions, embeddings, files, models, responses, vector_stores


def routes(service: Service, documents: Documents) -> APIRouter:
    """All routes."""
    router = APIRouter()
    for part in (models, completions, embeddings):
        router.include_router(part.routes(service))
    for with_documents in (files, vector_stores):
        router.include_router(with_documents.routes(documents))
    for searching in (chat, responses):
        router.include_router(searching.routes(service, documents))
    return router


__all__ = ["routes"]
