from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from puna.errors import CollectionNotFound, InvalidRequest, StoreError
from puna.rag import Collections, Pin
from puna.rag import collections as module
from tests.rag.words import WordsEmbedder

PIN = Pin("all-minilm", "53aa", "mean", 8)


def test_what_is_known_of_a_collection_is_there_for_another_process(tmp_path: Path) -> None:
    made = Collections(tmp_path).create("文档 é", PIN, owner="ada", metadata={"k": "v"}, expires_days=3)
    assert Collections(tmp_path).list() == [made]
    assert Collections(tmp_path).find("文档 é") == Collections(tmp_path).find(made.id) == made
    assert made.expires == made.created + 3 * 86400


def test_names_need_not_be_unique_but_then_an_id_is_asked_for(collections: Collections) -> None:
    first, second = collections.create("same", PIN), collections.create("same", PIN, owner="ada")
    with pytest.raises(InvalidRequest, match=first.id):
        collections.find("same")
    assert collections.find("same", owner="ada") == second


def test_what_is_deleted_or_never_was_is_not_found(collections: Collections) -> None:
    info = collections.create("a", PIN)
    collections.create("b", PIN)
    collections.delete(info)
    with pytest.raises(CollectionNotFound, match="there are b"):
        collections.find("a")
    with pytest.raises(CollectionNotFound, match="is gone"):
        collections.open(info)
    with pytest.raises(CollectionNotFound):
        collections.find("b", owner="ada")


def test_a_collection_expires_after_its_last_use(collections: Collections) -> None:
    info = collections.create("a", PIN, expires_days=1)
    old = replace(info, active=int(time.time()) - 86401)
    collections.save(old)
    assert collections.find("a").expired
    with pytest.raises(InvalidRequest, match="expired"):
        collections.open(collections.find("a"))
    used = collections.use(old)
    assert not used.expired
    assert collections.find("a") == used


def test_many_changes_do_not_pile_up(collections: Collections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VERSIONS", 5)
    info = collections.create("a", PIN)
    for number in range(12):
        collections.save(replace(info, metadata={"n": str(number)}))
    assert collections.list() == [replace(info, metadata={"n": "11"})]


@pytest.mark.parametrize("other", [replace(PIN, digest="ffff"), replace(PIN, pooling="cls"), replace(PIN, dimension=4)])
def test_vectors_of_another_model_are_refused_with_what_differs(other: Pin) -> None:
    with pytest.raises(
        InvalidRequest, match=r"'notes' was made with the embedding model 'all-minilm'.*cannot be compared"
    ):
        PIN.check(other, "notes")


def test_the_same_model_under_another_name_is_the_same() -> None:
    PIN.check(replace(PIN, model="mine"), "notes")


def test_a_place_that_cannot_be_opened_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="PUNA_COLLECTIONS"):
        Collections(tmp_path / "file")


def test_an_embedder_is_what_a_collection_was_made_for(collections: Collections) -> None:
    info = collections.create("words", WordsEmbedder().pin)
    info.pin.check(WordsEmbedder().pin, "words")
    with pytest.raises(InvalidRequest):
        info.pin.check(WordsEmbedder("words-2").pin, "words")
