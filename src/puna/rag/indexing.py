"""Files into a collection: only what changed is read into passages and vectors, what is gone goes.

Whatever ends a run in the middle, the documents written so far are whole, and the next run goes on with the others.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna.errors import UnreadableDocument
from puna.rag import chunking
from puna.rag.chunking import Cut, passages
from puna.rag.collection import Collection
from puna.rag.documents import Document, Passage
from puna.rag.embedding import Embedder
from puna.rag.reading import read_sections
from puna.rag.sources import Found

COMMIT_PASSAGES = 256  # a crash costs the vectors of so many, about
EMBED_AT_ONCE = 32  # texts

Report: TypeAlias = Callable[[str, int, int], None]  # (what, done, total)


@dataclass(slots=True)
class Indexed:
    """What a run did, by documents' names."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)  # and why
    passages: int = 0  # written


def digest_of(data: bytes, cut: Cut) -> str:
    """What a document's passages depend on, but for the model."""
    how = f"puna {chunking.VERSION} {cut.tokens} {cut.overlap}\n"
    return hashlib.sha256(how.encode() + data).hexdigest()


def prepare(
    document: Document, data: bytes, embedder: Embedder, cut: Cut
) -> tuple[Document, list[Passage], NDArray[np.float32]]:
    """A document as `Collection.put` takes it. Raises UnreadableDocument."""
    ready, found = _passages(document, data, embedder, cut)
    return ready, found, _vectors([passage.embedded for passage in found], embedder, lambda _: None)


def index_files(
    collection: Collection, found: Found, embedder: Embedder, cut: Cut, report: Report = lambda *_: None
) -> Indexed:
    """Bring a collection up to date with the files below the paths that were looked into.

    Documents that were read from below these paths and are not there any more are removed; others stay.
    """
    run = _Run(collection, embedder, cut, report)
    known = {document.id: document for document in collection.documents()}
    for number, source in enumerate(found.sources):
        report(source.name, number, len(found.sources))
        document = Document(str(source.path), source.name)
        try:
            data = source.read()
            if (before := known.get(document.id)) and before.digest == digest_of(data, cut):
                run.done.unchanged.append(source.name)
                continue
            run.add(document, data, (run.done.changed if before else run.done.added), (number, len(found.sources)))
        except UnreadableDocument as error:
            run.done.failed.append((source.name, str(error)))
    run.commit()
    present = {str(source.path) for source in found.sources}
    gone = [each for each in known.values() if each.id not in present and _below(each.id, found.roots)]
    collection.delete([each.id for each in gone])
    run.done.removed += (each.name for each in gone)
    if run.done.passages or gone:
        report("index", len(found.sources), len(found.sources))
        collection.tidy()
    return run.done


class _Run:
    """Documents that wait to be written together."""

    def __init__(self, collection: Collection, embedder: Embedder, cut: Cut, report: Report) -> None:
        self.done = Indexed()
        self._collection = collection
        self._embedder = embedder
        self._cut = cut
        self._report = report
        self._waiting: list[tuple[Document, list[Passage], NDArray[np.float32], list[str]]] = []

    def add(self, document: Document, data: bytes, names: list[str], at: tuple[int, int]) -> None:
        """Read and embed it; `names` is given its name once it is written."""
        ready, found = _passages(document, data, self._embedder, self._cut)
        texts = [passage.embedded for passage in found]

        def tell(embedded: int) -> None:
            if len(texts) > EMBED_AT_ONCE:
                self._report(f"{document.name} ({embedded} of {len(texts)} passages)", *at)

        self._waiting.append((ready, found, _vectors(texts, self._embedder, tell), names))
        if sum(len(passages) for _, passages, _, _ in self._waiting) >= COMMIT_PASSAGES:
            self.commit()

    def commit(self) -> None:
        """Write what waits."""
        self._collection.put([(document, found, vectors) for document, found, vectors, _ in self._waiting])
        for document, found, _, names in self._waiting:
            names.append(document.name)
            self.done.passages += len(found)
        self._waiting.clear()


def _passages(document: Document, data: bytes, embedder: Embedder, cut: Cut) -> tuple[Document, list[Passage]]:
    found = list(passages(read_sections(document.name, data), cut, embedder.count_tokens))
    return Document(
        document.id,
        document.name,
        digest_of(data, cut),
        len(data),
        document.created or int(time.time()),
        document.attributes,
        cut.tokens,
        cut.overlap,
    ), found


def _vectors(texts: Sequence[str], embedder: Embedder, tell: Callable[[int], None]) -> NDArray[np.float32]:
    parts = [np.empty((0, embedder.pin.dimension), np.float32)]
    for start in range(0, len(texts), EMBED_AT_ONCE):
        parts.append(embedder.embed(texts[start : start + EMBED_AT_ONCE]))
        tell(start + len(parts[-1]))
    return np.concatenate(parts)


def _below(document_id: str, roots: Iterable[Path]) -> bool:
    path = Path(document_id)
    return any(root == path or root in path.parents for root in roots)
