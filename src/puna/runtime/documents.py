"""Models of the runtime at the service of `puna.rag`: vectors for collections, and questions with sources before them.

Knows nothing of where collections are and of how they are searched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from puna.chat import Message
from puna.engine import Priority
from puna.errors import ContextOverflow, InvalidRequest, ModelNotFound
from puna.rag import Hit, quote
from puna.rag.chunking import MIN_TOKENS, Cut
from puna.rag.embedding import Pin
from puna.rag.quoting import Quoted
from puna.runtime.runtime import Runtime
from puna.runtime.types import ChatRequest, Embeddings, EmbedRequest
from puna.store import LocalModel, Store

BEST_MODEL, MODEL_IN_THE_BOX = "all-minilm", "cria"  # of a new collection, where nobody names one
CHUNK_TOKENS, OVERLAP_TOKENS = 220, 32  # where nobody says; a model of sentences sees 256
SOURCES_SHARE = 0.75  # of the answering model's context that a question and its sources may take
SPECIAL_TOKENS = 8  # that a model may put before and after a text
BLOB = "sha256-"  # how the store names a file after its content


def default_model(store: Store) -> str:
    """all-minilm where it is on this machine; else cria, which is always there and knows little of what words mean."""
    try:
        store.resolve(BEST_MODEL)
    except ModelNotFound:
        return MODEL_IN_THE_BOX
    return BEST_MODEL


class RuntimeEmbedder:
    """See `puna.rag.Embedder`."""

    def __init__(
        self,
        runtime: Runtime,
        model: str,
        *,
        embed: Callable[[EmbedRequest], Embeddings] | None = None,
        priority: Priority | None = None,
    ) -> None:
        """`embed` in place of the runtime's own. Raises what `Runtime.text_model` raises."""
        text = runtime.text_model(model)
        self._model = model
        self._tokenizer = text.tokenizer
        self._embed = embed or runtime.embed
        self._priority = priority
        self.max_tokens = runtime.context_length(model) - SPECIAL_TOKENS
        self.pin = Pin(text.local.name, weights_digest(text.local), text.config.pooling, text.config.embedding_length)

    def count_tokens(self, text: str) -> int:
        """See Embedder."""
        return len(self._tokenizer.encode(text, add_special=False, parse_special=True))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See Embedder."""
        if not texts:
            return np.empty((0, self.pin.dimension), np.float32)
        request = EmbedRequest(self._model, tuple(texts), truncate=False, priority=self._priority)
        return self._embed(request).vectors

    def cut(self, tokens: int | None = None, overlap: int | None = None) -> Cut:
        """Lengths of passages that the model takes whole. Raises InvalidRequest."""
        if tokens is not None and tokens > self.max_tokens:
            raise InvalidRequest(
                f"passages of {tokens} tokens do not fit the embedding model {self.pin.model!r}, which takes "
                f"{self.max_tokens}: ask for shorter ones"
            )
        chosen = tokens or max(MIN_TOKENS, min(CHUNK_TOKENS, self.max_tokens))
        return Cut(chosen, min(OVERLAP_TOKENS, chosen // 4) if overlap is None else overlap)


def weights_digest(local: LocalModel) -> str:
    """Of the file with the weights, which stays the same wherever it lies; of a folder, the model's own."""
    if local.path.name.startswith(BLOB):
        return local.path.name.removeprefix(BLOB)
    if not local.path.is_file():
        return local.digest
    with local.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def with_sources(
    runtime: Runtime, request: ChatRequest, hits: Sequence[Hit], names: Callable[[str], str]
) -> tuple[ChatRequest, Quoted]:
    """The request with numbered sources in its last user message, as many as leave room for an answer.

    names: of documents by their ids. Raises InvalidRequest: there is no user's message; what `Runtime.prompt` raises.
    """
    last = next((i for i in reversed(range(len(request.messages))) if request.messages[i].role == "user"), None)
    if last is None:
        raise InvalidRequest("there is no user's message to find sources for")
    question = request.messages[last]

    def fits(text: str) -> bool:
        alone = replace(request, messages=(Message("user", text),), tools=(), history="error")
        try:
            context = runtime.prompt(alone).context
        except ContextOverflow:
            return False
        return context.prompt_tokens <= SOURCES_SHARE * context.limit

    quoted = quote(question.content, hits, names, fits)
    messages = list(request.messages)
    messages[last] = replace(question, content=quoted.text)
    return replace(request, messages=tuple(messages)), quoted
