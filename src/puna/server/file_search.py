"""The tool `file_search` of every dialect: passages of vector stores as numbered sources before a question.

The search runs before the model does, for every request that has the tool: small models do not find out by themselves
when to search, and with what words. What was found is told in the reply, whether the model names it or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from puna.errors import InvalidRequest
from puna.rag.quoting import cited
from puna.runtime import ChatRequest
from puna.runtime.documents import with_sources
from puna.server.body import Body, Integer
from puna.server.caller import Caller
from puna.server.documents import Documents, Found, Query

FILE_SEARCH = "file_search"  # runs in the server, before the model does
MAX_STORES = 8  # of one request
MAX_RESULTS = 50  # of one search, as in OpenAI's API
RANKERS = ("auto", "default-2024-11-15")


class HybridBody(Body):
    """Weights of the two rankings that become one."""

    embedding_weight: float = Field(default=1.0, description="Of the ranking by meaning.", ge=0, le=1000)
    text_weight: float = Field(default=1.0, description="Of the ranking by words.", ge=0, le=1000)


class RankingBody(Body):
    """How passages are ranked."""

    ranker: str = Field(default="auto", description="`auto`: by meaning and by words; `none`: by meaning alone.")
    score_threshold: float = Field(default=0.0, description="Only passages with this score (0 to 1) or more.")
    hybrid_search: HybridBody = Field(default=HybridBody(), description="What the two rankings weigh.")


class SearchFields(Body):
    """What a search and the tool `file_search` have in common."""

    max_num_results: Integer = Field(default=10, description=f"Passages at most, 1 to {MAX_RESULTS}.")
    filters: dict[str, Any] | None = Field(
        default=None, description="Only documents with these attributes: a comparison, or several with `and` or `or`."
    )
    ranking_options: RankingBody = Field(default=RankingBody(), description="How passages are ranked.")

    def query(self, text: str) -> Query:
        """As the documents take it. Raises InvalidRequest."""
        ranking = self.ranking_options
        if not 1 <= self.max_num_results <= MAX_RESULTS:
            raise InvalidRequest(f"max_num_results must be between 1 and {MAX_RESULTS}, not {self.max_num_results}")
        if ranking.ranker not in (*RANKERS, "none"):
            raise InvalidRequest(f"ranking_options.ranker must be 'auto' or 'none', not {ranking.ranker!r}")
        weights = (ranking.hybrid_search.embedding_weight, ranking.hybrid_search.text_weight)
        if not any(weights):
            raise InvalidRequest("ranking_options.hybrid_search: one of the weights must be above 0")
        return Query(
            text,
            self.max_num_results,
            self.filters,
            ranking.score_threshold,
            "vector" if ranking.ranker == "none" else "hybrid",
            weights,
        )


class FileSearchFields(SearchFields):
    """What a tool of type `file_search` has besides its type."""

    max_num_results: Integer = Field(default=5, description="Of `file_search`: passages at most.")
    vector_store_ids: list[str] = Field(default_factory=list, description="Of `file_search`: where to search.")


class ToolFields(FileSearchFields):
    """What tools of every dialect have."""

    type: str = Field(default="function", description="`function`, or `file_search`, which runs here.")


@dataclass(frozen=True, slots=True)
class Searched:
    """What was found for a request."""

    query: str = ""
    found: tuple[Found, ...] = ()  # those that the model sees, number 1 first
    warnings: tuple[str, ...] = ()
    ran: bool = False  # whether the request has the tool

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


def searches(tools: Sequence[ToolFields]) -> list[FileSearchFields]:
    """Those of the tools that are file searches."""
    return [tool for tool in tools if tool.type == FILE_SEARCH]
