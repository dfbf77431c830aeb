from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from puna.errors import InvalidRequest
from puna.rag import Collection, Document, Failure, Passage
from puna.rag import collection as module
from tests.rag.words import DIMENSION, WordsEmbedder


def put(collection: Collection, embedder: WordsEmbedder, document: str, *texts: str) -> None:
    passages = [Passage(text, place=f"line {index}") for index, text in enumerate(texts, 1)]
    collection.put([(Document(document, document), passages, embedder.embed(texts))])


def found(
    collection: Collection, embedder: WordsEmbedder, text: str, mode: module.Mode = "hybrid", **options: object
) -> list[str]:
    hits = collection.search(text, embedder.embed([text])[0], mode=mode, **options)  # type: ignore[arg-type]
    return [hit.passage.text for hit in hits]


def test_a_document_is_replaced_whole(collection: Collection, embedder: WordsEmbedder) -> None:
    put(collection, embedder, "a", "one", "two", "three")
    put(collection, embedder, "b", "other")
    put(collection, embedder, "a", "new")
    assert [passage.text for passage in collection.passages("a")] == ["new"]
    assert [passage.text for passage in collection.passages("b")] == ["other"]
    assert collection.count() == 2
    assert [document.id for document in collection.documents()] == ["a", "b"]


def test_a_document_keeps_what_is_said_of_it(collection: Collection) -> None:
    document = Document(
        "it's; DROP",
        "名",
        "d",
        7,
        5,
        {"year": 1843, "ok": True, "x": "y"},
        100,
        10,
        "failed",
        Failure("invalid_file", "?"),
    )
    collection.put([(document, [], np.empty((0, DIMENSION), np.float32))])
    assert collection.document("it's; DROP") == document
    collection.delete(["it's; DROP"])
    assert collection.document("it's; DROP") is None


def test_an_update_leaves_the_passages(collection: Collection, embedder: WordsEmbedder) -> None:
    put(collection, embedder, "a", "one")
    collection.update(Document("a", "a", attributes={"k": 1.5}))
    document = collection.document("a")
    assert document is not None
    assert document.attributes == {"k": 1.5}
    assert found(collection, embedder, "one") == ["one"]


CHINESE = ["向量数据库支持全文检索", "今天上海的天气很好", "人工智能和大语言模型", "北京是中国的首都"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("数据", 0),  # part of what a dictionary takes for one word
        ("数据库", 0),
        ("全文检索怎么用", 0),
        ("上海天气", 1),
        ("语言模型", 2),
        ("智能", 2),
        ("首都在哪里", 3),
    ],
)
def test_chinese_full_text(collection: Collection, embedder: WordsEmbedder, query: str, expected: int) -> None:
    for index, text in enumerate(CHINESE):
        put(collection, embedder, f"{index}.txt", text)
    assert found(collection, embedder, query, "text")[0] == CHINESE[expected]
    collection.tidy()  # and from the index, where until now new rows were looked through
    assert found(collection, embedder, query, "text")[0] == CHINESE[expected]


def test_full_text_stems_and_folds_and_takes_any_query_as_words(
    collection: Collection, embedder: WordsEmbedder
) -> None:
    put(collection, embedder, "a", "The cafés were running", "nothing here")
    for query in ("run", "cafe", 'RUNNING AND ("x', "text:run* ~ ^2 \\"):
        assert found(collection, embedder, query, "text") == ["The cafés were running"]
    for query in ("", "  ", "!?", "zzz"):
        assert found(collection, embedder, query, "text") == []


def test_hybrid_finds_what_one_ranking_alone_does_not(collection: Collection, embedder: WordsEmbedder) -> None:
    put(collection, embedder, "a", "alpha beta gamma", "delta epsilon", "running shoes")
    vector = embedder.embed(["alpha beta gamma"])[0]
    hits = collection.search("runs", vector, limit=2)
    assert {hit.passage.text for hit in hits} == {"alpha beta gamma", "running shoes"}
    assert collection.search("runs", vector, limit=1, weights=(0.1, 1))[0].passage.text == "running shoes"


def test_a_search_stays_in_the_documents_it_is_told(collection: Collection, embedder: WordsEmbedder) -> None:
    put(collection, embedder, "a", "same words")
    put(collection, embedder, "b", "same words too")
    for mode in module.MODES:
        assert found(collection, embedder, "same words", mode, documents=["b"]) == ["same words too"]
        assert found(collection, embedder, "same words", mode, documents=[]) == []


@pytest.mark.parametrize("mode", module.MODES)
def test_a_search_for_more_than_there_is_finds_passages_only(
    collection: Collection, embedder: WordsEmbedder, mode: module.Mode
) -> None:
    """Not the row that a document has for itself, before it is indexed and after."""
    put(collection, embedder, "words", "words one", "words two")
    for _ in range(2):
        assert set(found(collection, embedder, "words", mode, limit=50)) == {"words one", "words two"}
        collection.tidy()


def test_scores_of_vectors_are_cosines(collection: Collection, embedder: WordsEmbedder) -> None:
    put(collection, embedder, "a", "one two", "three four")
    hits = collection.search("", embedder.embed(["one two"])[0], mode="vector")
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert hits[1].score == pytest.approx(float(np.dot(*embedder.embed(["one two", "three four"]))), abs=1e-5)


def vectors(count: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    made = rng.normal(size=(count, DIMENSION)).astype(np.float32)
    units: NDArray[np.float32] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return units


def test_the_index_finds_what_comparing_all_finds_and_new_rows_and_no_deleted_ones(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANN_ROWS", 1000)
    made = vectors(2000)
    for document in range(20):
        part = made[document * 100 : (document + 1) * 100]
        passages = [Passage(f"{document}-{index}") for index in range(100)]
        collection.put([(Document(f"d{document}", "d"), passages, part)])
    collection.tidy()
    newer = vectors(2001)[2000:]
    collection.put([(Document("new", "new"), [Passage("new")], newer)])
    collection.delete(["d3"])
    kept = [index for index in range(2000) if index // 100 != 3]
    right = 0
    for query in vectors(2030)[2001:]:
        best = sorted(kept, key=lambda index: -float(made[index] @ query))[:10]
        hits = collection.search("", query, mode="vector", limit=10)
        assert all(hit.document != "d3" for hit in hits)
        right += len({f"{index // 100}-{index % 100}" for index in best} & {hit.passage.text for hit in hits})
    assert right / 290 > 0.95
    assert collection.search("", newer[0], mode="vector", limit=1)[0].passage.text == "new"


@pytest.mark.parametrize(
    "bad",
    [np.ones((1, 3), np.float32), np.ones((2, DIMENSION), np.float32), np.full((1, DIMENSION), np.nan, np.float32)],
)
def test_vectors_that_do_not_fit_are_refused(collection: Collection, bad: NDArray[np.float32]) -> None:
    with pytest.raises(InvalidRequest):
        collection.put([(Document("a", "a"), [Passage("x")], bad)])
    with pytest.raises(InvalidRequest, match="64 numbers"):
        collection.search("", np.ones(3, np.float32), mode="vector")
    assert collection.documents() == []
