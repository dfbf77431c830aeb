"""The tool `file_search`: passages of vector stores as numbered sources before a question.

The search runs before the model does, for every request that has the tool: small models do not find out by themselves
when to search, and with what words. What was found is told in the reply, whether the model names it or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from puna.errors import InvalidRequest
from puna.rag.quoting import cited
from puna.runtime import ChatRequest
from puna.runtime.documents import with_sources
from puna.server.caller import Caller
from puna.server.documents import Documents, Found
from puna.server.openai.tools import FILE_SEARCH, FlatToolBody, ToolBody
from puna.server.openai.vector_store_requests import FileSearchFields

MAX_STORES = 8  # of one request


@dataclass(frozen=True, slots=True)
class Searched:
    """What was found for a request."""

    query: str = ""
    found: tuple[Found, ...] = ()  # those that the model sees, number 1 first
    warnings: tuple[str, ...] = ()
    ran: bool = field(default=False)  # whether the request has the tool

    def results(self) -> list[dict[str, Any]]:
        """As OpenAI writes a call's results, with the number by which the model knows each."""
        return [
            {
                "file_id": each.document.id,
                "filename": each.document.name,
                "score": round(each.hit.score, 6),
                "attributes": dict(each.document.attributes),
                "text": each.hit.passage.text,
                "number": number,
                "heading": each.hit.passage.heading,
                "place": each.hit.passage.place,
            }
            for number, each in enumerate(self.found, 1)
        ]

    def annotations(self, answer: str) -> list[dict[str, Any]]:
        """A citation for each mark like [2] in the answer."""
        return [
            {
                "type": "file_citation",
                "index": index,
                "file_id": self.found[number - 1].document.id,
                "filename": self.found[number - 1].document.name,
            }
            for index, number in cited(answer, len(self.found))
        ]


NOTHING = Searched()


async def search(
    documents: Documents, tools: Sequence[FileSearchFields], requests: Sequence[ChatRequest], caller: Caller
) -> tuple[list[ChatRequest], Searched]:
    """The requests (choices of one answer) with what the tool finds, and what it is. Raises InvalidRequest."""
    if not tools:
        return list(requests), NOTHING
    if len(tools) > 1:
        raise InvalidRequest("tools: one of type 'file_search' is enough; it takes several vector_store_ids")
    [tool] = tools
    if not 1 <= len(tool.vector_store_ids) <= MAX_STORES:
        raise InvalidRequest(f"tools: file_search needs 1 to {MAX_STORES} vector_store_ids")
    asked = [message.content for message in requests[0].messages if message.role == "user"]
    if not asked:
        raise InvalidRequest("tools: file_search looks for the last user's message, and there is none")
    documents.service.accounting.check_budget(caller.key)
    call = documents.service.call
    infos = [await call(documents.find, each, caller.key) for each in dict.fromkeys(tool.vector_store_ids)]
    embedder = await call(documents.embedder_for, infos, caller.key)
    found = await call(documents.search, infos, tool.query(asked[-1]), embedder)
    names = {each.document.id: each.document.name for each in found}
    hits = [each.hit for each in found]
    first, quoted = await call(
        with_sources, documents.service.runtime, requests[0], hits, lambda document: names[document]
    )
    warnings: tuple[str, ...] = ()
    if quoted.left_out:
        warnings = (f"file_search: {quoted.left_out} of {len(hits)} passages did not fit the context",)
    written = [replace(each, messages=first.messages) for each in requests]
    return written, Searched(asked[-1], tuple(found[: len(quoted.sources)]), warnings, ran=True)


def searches(tools: Sequence[ToolBody] | Sequence[FlatToolBody]) -> list[FileSearchFields]:
    """Those of the tools that are file searches."""
    return [tool for tool in tools if tool.type == FILE_SEARCH]


def dumped(tool: FlatToolBody) -> dict[str, Any]:
    """A tool as a reply repeats it: only what its type has."""
    search_fields = set(FileSearchFields.model_fields)
    if tool.type == FILE_SEARCH:
        return tool.model_dump(include=search_fields | {"type"})
    return tool.model_dump(exclude=search_fields if tool.tools else {"tools", *search_fields})
