"""Collections, files and the work of indexing, as the routes use them.

A file that is attached to a collection is written down as `in_progress` first and indexed by one thread, in the
background lane. What a server that ended has left undone is taken up when collections are first used again.
Knows nothing of OpenAI's shapes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from puna import paths
from puna.engine import Priority
from puna.errors import InvalidRequest, PunaError, UnreadableDocument
from puna.rag import Collection, CollectionInfo, Collections, Document, Failure, Hit, Mode, prepare
from puna.rag.chunking import Cut
from puna.rag.documents import Attribute
from puna.rag.filters import matches
from puna.rag.reading import MAX_BYTES
from puna.runtime import Embeddings, EmbedRequest
from puna.runtime.documents import RuntimeEmbedder, default_model
from puna.server.accounting import Accounting
from puna.server.errors import NotFoundError
from puna.server.keys import Key
from puna.server.live import Service
from puna.server.uploads import Uploads

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for in a collection."""

    text: str
    limit: int = 10
    filters: Mapping[str, object] | None = None  # on documents' attributes
    threshold: float = 0.0  # of a passage's score
    mode: Mode = "hybrid"
    weights: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Found:
    """A passage, and the document that it is of."""

    hit: Hit
    document: Document
    collection: str  # id


class Documents:
    """All of it. Its methods block: the event loop calls them on a thread."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.uploads = Uploads(paths.files_dir(), MAX_BYTES)
        self._lock = threading.Lock()  # a document is not written after it was removed
        self._opened: Collections | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._closed = threading.Event()

    @property
    def collections(self) -> Collections:
        """Opened when they are first needed: it takes a second."""
        with self._lock:
            if self._opened is None:
                self._opened = Collections(paths.collections_place())
                self._worker.submit(self._resume, self._opened)
            return self._opened

    def create(
        self, name: str, model: str | None, key: Key, metadata: Mapping[str, str], expires_days: int | None
    ) -> CollectionInfo:
        """A new collection for an embedding model. Raises ForbiddenError, and what `Runtime.text_model` raises."""
        chosen = model or default_model(self.service.runtime.store)
        key.require_model(chosen)
        pin = RuntimeEmbedder(self.service.runtime, chosen).pin
        return self.collections.create(name, pin, owner=key.name, metadata=metadata, expires_days=expires_days)

    def find(self, collection: str, key: Key) -> CollectionInfo:
        """The one of that id or name that the key may see. Raises CollectionNotFound."""
        return self.collections.find(collection, _owner(key))

    def visible(self, key: Key) -> list[CollectionInfo]:
        """Those that the key may see."""
        owner = _owner(key)
        return [info for info in self.collections.list() if owner in (None, info.owner)]

    def attach(
        self,
        info: CollectionInfo,
        file_id: str,
        key: Key,
        attributes: Mapping[str, Attribute],
        lengths: tuple[int | None, int | None],
    ) -> Document:
        """Begin to index a file. Raises NotFoundError, InvalidRequest, BudgetSpentError."""
        upload = self.uploads.get(file_id, _owner(key))
        key.require_model(info.pin.model)
        self.service.accounting.check_budget(key)
        cut = self._embedder(info, key).cut(*lengths)
        document = Document(
            upload.id,
            upload.name,
            "",
            upload.size,
            int(time.time()),
            attributes,
            cut.tokens,
            cut.overlap,
            "in_progress",
        )
        self.collections.open(self.collections.use(info)).update(document)
        self._worker.submit(self._index, info, document.id)
        return document

    def detach(self, info: CollectionInfo, document_id: str) -> None:
        """Remove a document from a collection; its file stays. Raises NotFoundError."""
        collection = self.collections.open(info)
        with self._lock:
            require(collection, document_id)
            collection.delete([document_id])

    def update(self, info: CollectionInfo, document_id: str, attributes: Mapping[str, Attribute]) -> Document:
        """Other attributes for a document. Raises NotFoundError."""
        collection = self.collections.open(info)
        with self._lock:
            changed = replace(require(collection, document_id), attributes=attributes)
            collection.update(changed)
        return changed

    def forget(self, file_id: str, key: Key) -> None:
        """Remove a file, and what collections have of it. Raises NotFoundError."""
        for info in self.visible(key):
            if not info.expired:
                collection = self.collections.open(info)
                with self._lock:
                    collection.delete([file_id])
        self.uploads.delete(file_id, _owner(key))

    def embedder_for(self, infos: Sequence[CollectionInfo], key: Key) -> RuntimeEmbedder:
        """The one embedding model of these collections. Raises InvalidRequest: there are several, or it is another."""
        key.require_model(infos[0].pin.model)
        embedder = self._embedder(infos[0], key)
        for info in infos:
            info.pin.check(embedder.pin, info.name or info.id)
        return embedder

    def search(self, infos: Sequence[CollectionInfo], query: Query, embedder: RuntimeEmbedder) -> list[Found]:
        """The best passages of all these collections. Raises InvalidRequest."""
        if not query.text.strip():
            raise InvalidRequest("query is required: what to look for")
        vector = None if query.mode == "text" else embedder.embed([query.text])[0]
        found: list[Found] = []
        for info in infos:
            collection = self.collections.open(self.collections.use(info))
            chosen = None
            if query.filters is not None:
                wanted = query.filters
                chosen = [each.id for each in collection.documents() if matches(wanted, each.attributes)]
            hits = collection.search(
                query.text, vector, limit=query.limit, mode=query.mode, documents=chosen, weights=query.weights
            )
            known = {each.id: each for each in collection.documents(sorted({hit.document for hit in hits}))}
            # A document that is removed just now is not among them any more.
            found += [Found(hit, known[hit.document], info.id) for hit in hits if hit.document in known]
        best = sorted(found, key=lambda each: -each.hit.score)
        return [each for each in best if each.hit.score >= query.threshold][: query.limit]

    def close(self) -> None:
        """Begin no more documents. What is left undone is done by the next server."""
        self._closed.set()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _resume(self, collections: Collections) -> None:
        for info in collections.list():
            if info.expired:
                continue
            for document in collections.open(info).documents():
                if document.status == "in_progress":
                    self._index(info, document.id)

    def _index(self, info: CollectionInfo, document_id: str) -> None:
        if self._closed.is_set():
            return
        try:
            collection = self.collections.open(info)
            document = collection.document(document_id)
            if document is None or document.status != "in_progress":
                return
            self._write(info, collection, document)
            collection.tidy()
        except Exception:
            if not self._closed.is_set():
                _log.exception("indexing %s in the collection %s", document_id, info.id)

    def _write(self, info: CollectionInfo, collection: Collection, document: Document) -> None:
        failure: Failure | None = None
        try:
            embedder = self._embedder(info, Key(info.owner))
            data = self.uploads.content(document.id, None)
            cut = Cut(document.chunk_tokens, document.overlap_tokens)
            ready, passages, vectors = prepare(document, data, embedder, cut)
        except UnreadableDocument as error:
            failure = Failure("invalid_file", f"{document.name} {error}")
        except PunaError as error:
            if self._closed.is_set():  # the server's end is not the file's fault
                return
            failure = Failure("server_error", str(error))
        with self._lock:
            current = collection.document(document.id)
            if current is None:  # removed meanwhile
                return
            if failure is not None:
                collection.update(replace(current, status="failed", failure=failure))
            else:
                whole = replace(ready, status="completed", attributes=current.attributes)
                collection.put([(whole, passages, vectors)])

    def _embedder(self, info: CollectionInfo, key: Key) -> RuntimeEmbedder:
        """The collection's model. Raises InvalidRequest: it is not the one that the collection was made with."""
        embedder = RuntimeEmbedder(
            self.service.runtime,
            info.pin.model,
            embed=_Counted(self.service, key).embed,
            priority=Priority.BACKGROUND,
        )
        info.pin.check(embedder.pin, info.name or info.id)
        return embedder


@dataclass(frozen=True, slots=True)
class _Counted:
    """Embeddings that are counted for a key."""

    service: Service
    key: Key

    def embed(self, request: EmbedRequest) -> Embeddings:
        made = self.service.runtime.embed(replace(request, client=self.key.name))
        accounting: Accounting = self.service.accounting
        accounting.embedded(self.key, request, made)
        return made


def require(collection: Collection, document_id: str) -> Document:
    """A document of a collection. Raises NotFoundError."""
    document = collection.document(document_id)
    if document is None:
        raise NotFoundError(f"there is no file {document_id!r} in this vector store")
    return document


def _owner(key: Key) -> str | None:
    """Whose things a key may see: its own; the operator sees all."""
    return None if key.is_operator else key.name
