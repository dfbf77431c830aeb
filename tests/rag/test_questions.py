"""Twenty questions about this repository's own documents, asked of all-MiniLM-L6-v2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from puna.rag import Collection, Collections, find_files, index_files
from puna.runtime import Runtime
from puna.runtime.documents import RuntimeEmbedder, default_model
from tests.minilm import needs_minilm

DOCS = Path(__file__).parent.parent.parent / "docs"
TOP, LEAST = 3, 18

QUESTIONS = {
    "Which verb removes models from this machine?": "cli.md",
    "How do I make an API key on the command line?": "cli.md",
    "Which option of puna run ends the answer after so many tokens?": "cli.md",
    "How can I quantise a model with an importance matrix?": "cli.md",
    "Which field holds an answer to a JSON schema in a chat completion?": "api.md",
    "What does the header Idempotency-Key do?": "api.md",
    "Which route turns texts into vectors in OpenAI's shape?": "api.md",
    "What does the server reply when a key's tokens of the day are used up?": "api.md",
    "Why do we depend on llguidance?": "dependencies.md",
    "What is llvmlite needed for?": "dependencies.md",
    "Why was LanceDB chosen and not Chroma or Qdrant?": "dependencies.md",
    "What is the order of imports between the packages?": "structure.md",
    "What happens to a chat request from HTTP to the tokens?": "structure.md",
    "Who compiles kernels, and where are the object files cached?": "structure.md",
    "How many times faster is decoding than llama.cpp?": "performance.md",
    "How large may a passage of a document be, and where is it cut?": "documents.md",
    "How do I keep my collections in an S3 bucket?": "documents.md",
    "What is the cosine of two token vectors?": "embeddings.md",
    "How do rotary position embeddings turn a query by its position?": "embeddings.md",
    "为什么换了嵌入模型就要重新建立向量? Why must all be embedded anew with another model?": "embeddings.md",
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collection, RuntimeEmbedder]]:
    collections = Collections(tmp_path_factory.mktemp("collections"))
    with Runtime() as runtime:
        embedder = RuntimeEmbedder(runtime, default_model(runtime.store))
        collection = collections.open(collections.create("docs", embedder.pin))
        done = index_files(collection, find_files(sorted(DOCS.glob("*.md"))), embedder, embedder.cut())
        assert not done.failed
        yield collection, embedder


@needs_minilm
def test_the_right_file_is_among_the_first_three(asked: tuple[Collection, RuntimeEmbedder]) -> None:
    collection, embedder = asked
    assert len(QUESTIONS) == 20
    wrong = {}
    for question, vector in zip(QUESTIONS, embedder.embed(list(QUESTIONS)), strict=True):
        found = [Path(hit.document).name for hit in collection.search(question, vector, limit=TOP)]
        if QUESTIONS[question] not in found:
            wrong[question] = found
    assert len(QUESTIONS) - len(wrong) >= LEAST, wrong
