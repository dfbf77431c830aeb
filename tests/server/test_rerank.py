"""/v1/rerank against a real server with a tiny cross-encoder, whose scores transformers vouches for elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from puna.gguf import open_model
from puna.models import Chunk, blocks_for
from puna.store import Store
from puna.tokenizer import load as load_tokenizer
from tests.models.running import loaded
from tests.rankers import store_ranker, write_ranker
from tests.server.process import server_process

QUERY = "where do llamas live?"
DOCUMENTS = ["they live on high plateaus", "a password is reset in the settings", "llamas, mostly", "no"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("rerank")
    store_ranker(Store(folder / "models"), folder / "ranker")
    with server_process(folder / "models") as url, httpx.Client(base_url=url, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Each pair by itself, computed from its folder."""
    folder = write_ranker(tmp_path_factory.mktemp("folder") / "ranker")
    with open_model(folder) as file:
        tokenizer = load_tokenizer(file)
    scores = []
    with loaded(folder, tokens=96) as model:
        for document in DOCUMENTS:
            ids = [*tokenizer.encode(QUERY), *tokenizer.encode(document)[1:]]
            second = len(tokenizer.encode(QUERY))
            model.forward([Chunk(ids, 0, range(blocks_for(len(ids))), 0, range(1), second)])
            scores.append(1 / (1 + np.exp(-float(model.states()[0, 0]))))
    return scores


def rerank(server: httpx.Client, **fields: Any) -> httpx.Response:
    return server.post("/v1/rerank", json={"model": "ranker", "query": QUERY, "documents": DOCUMENTS, **fields})


def test_documents_come_in_the_order_of_their_scores(server: httpx.Client, expected: list[float]) -> None:
    reply = rerank(server).raise_for_status().json()
    assert [each["index"] for each in reply["results"]] == sorted(range(4), key=lambda index: -expected[index])
    for each in reply["results"]:
        assert each["relevance_score"] == pytest.approx(expected[each["index"]], abs=1e-6)
        assert "document" not in each
    assert reply["model"] == "ranker"
    assert reply["usage"]["prompt_tokens"] == reply["usage"]["total_tokens"] > 4 * len("where do")
    assert len({round(score, 4) for score in expected}) == 4  # else any order would have done


def test_only_the_best_with_their_texts_also_of_objects(server: httpx.Client) -> None:
    objects = [{"text": text, "id": index} for index, text in enumerate(DOCUMENTS)]
    reply = rerank(server, documents=objects, top_n=2, return_documents=True).raise_for_status().json()
    assert len(reply["results"]) == 2
    assert all(each["document"] == {"text": DOCUMENTS[each["index"]]} for each in reply["results"])


def test_a_document_that_is_cut_is_reported_or_refused(server: httpx.Client) -> None:
    documents = [DOCUMENTS[0], "a long story " * 40]
    reply = rerank(server, documents=documents).raise_for_status()
    assert reply.json()["puna"]["truncated"] == [1]
    assert "input 1 was cut" in reply.headers["x-puna-warnings"]
    assert "document 1 have" in rerank(server, documents=documents, truncate=False).json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"query": " "}, "query is required"),
        ({"documents": []}, "documents is required"),
        ({"documents": [{"title": "no text"}]}, 'documents[0] has no "text"'),
        ({"top_n": 0}, "top_n must be at least 1"),
        ({"model": ""}, "model is required"),
        ({"model": "cria"}, '"cria" does not support rerank'),
        ({"query": "too long " * 60}, "this model takes 96"),
    ],
)
def test_what_cannot_be_ranked_is_refused_with_the_reason(
    fields: dict[str, Any], reason: str, server: httpx.Client
) -> None:
    reply = rerank(server, **fields)
    assert reply.status_code == 400
    assert reason in reply.json()["error"]["message"]


def test_a_ranker_neither_embeds_nor_writes(server: httpx.Client) -> None:
    embedded = server.post("/api/embed", json={"model": "ranker", "input": "hello"})
    assert embedded.status_code == 400
    assert "ranks texts (/v1/rerank)" in embedded.json()["error"]
    assert server.post("/api/generate", json={"model": "ranker", "prompt": "hello"}).status_code == 400
