"""Documents of one's own: read, cut into passages, kept beside their vectors on disk, searched and quoted.

sources     which files a path stands for
reading     a file's bytes to text with structure (Markdown, HTML, PDF, code, plain text); hostile files are bounded
parsing     HTML and PDF, in a process of its own
chunking    text with structure to passages of so many tokens
embedding   what is asked of an embedding model, and which one a collection belongs to
terms       what full-text search looks for, in scripts without blanks too
collection  one collection: its documents, passages and vectors in a LanceDB table; search
fusion      rankings by meaning and by words to one
collections all of them: names, models, dates
indexing    files into a collection, only what changed
filters     conditions on documents' attributes
quoting     passages as numbered sources in a model's prompt

Knows nothing of how vectors are computed (it is given an `Embedder`), of HTTP and of terminals. LanceDB and the readers
of formats come with the extra `rag`, and are imported when they are needed.
"""

from puna.rag.collection import Collection, Hit, Mode
from puna.rag.collections import CollectionInfo, Collections
from puna.rag.documents import Document, Failure, Passage
from puna.rag.embedding import Embedder, Pin
from puna.rag.indexing import Indexed, index_files, prepare
from puna.rag.quoting import quote
from puna.rag.sources import Source, find_files

__all__ = [
    "Collection",
    "CollectionInfo",
    "Collections",
    "Document",
    "Embedder",
    "Failure",
    "Hit",
    "Indexed",
    "Mode",
    "Passage",
    "Pin",
    "Source",
    "find_files",
    "index_files",
    "prepare",
    "quote",
]
