from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from puna.rag import Collection, Collections, Document, Indexed, find_files, index_files, indexing, prepare
from puna.rag.chunking import Cut
from tests.rag.words import WordsEmbedder

CUT = Cut(32)


def run(collection: Collection, embedder: WordsEmbedder, folder: Path, cut: Cut = CUT) -> Indexed:
    return index_files(collection, find_files([folder]), embedder, cut)


def test_only_what_changed_is_embedded_again(collection: Collection, embedder: WordsEmbedder, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text(f"text of {name}")
    first = run(collection, embedder, folder)
    assert (len(first.added), first.passages, embedder.embedded) == (3, 3, 3)
    again = run(collection, embedder, folder)
    assert (len(again.unchanged), again.passages, embedder.embedded) == (3, 0, 3)
    (folder / "a.txt").write_text("another text")
    (folder / "b.txt").unlink()
    (folder / "d.txt").write_text("text of d")
    (folder / "e.txt").write_bytes(b"\0\0")
    third = run(collection, embedder, folder)
    assert [Path(name).name for name in third.changed + third.removed + third.added] == ["a.txt", "b.txt", "d.txt"]
    assert [Path(name).name for name, _ in third.failed] == ["e.txt"]
    assert embedder.embedded == 5
    assert {Path(each.id).name for each in collection.documents()} == {"a.txt", "c.txt", "d.txt"}
    assert run(collection, embedder, folder, Cut(40)).changed  # other passages are another index


def test_documents_from_elsewhere_stay(collection: Collection, embedder: WordsEmbedder, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(folder)
        run(collection, embedder, tmp_path / folder)
    collection.put([prepare(Document("file-1", "a.txt"), b"uploaded", embedder, CUT)])
    (tmp_path / "one" / "a.txt").unlink()
    run(collection, embedder, tmp_path / "one")
    assert [each.id for each in collection.documents()] == [str(tmp_path / "two" / "a.txt"), "file-1"]


def test_a_file_that_cannot_be_read_any_more_is_told_and_its_passages_stay(
    collection: Collection, embedder: WordsEmbedder, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("text")
    index_files(collection, find_files([tmp_path / "a.txt"]), embedder, CUT)
    (tmp_path / "a.txt").write_bytes(b"\0")
    done = index_files(collection, find_files([tmp_path / "a.txt"]), embedder, CUT)
    assert len(done.failed) == 1
    assert [passage.text for passage in collection.passages(str(tmp_path / "a.txt"))] == ["text"]


KILLED = """
import sys, time
from pathlib import Path
from puna.rag import Collections, find_files, index_files, indexing
from puna.rag.chunking import Cut
from tests.rag.words import WordsEmbedder

class Slow(WordsEmbedder):
    def embed(self, texts):
        time.sleep(0.004 * len(texts))
        return super().embed(texts)

indexing.COMMIT_PASSAGES = 10
collections = Collections(sys.argv[1])
print("begun", flush=True)
index_files(collections.open(collections.find("notes")), find_files([Path(sys.argv[2])]), Slow(), Cut(32))
"""
FILES, PARAGRAPHS = 60, 5


def test_killed_at_any_moment_nothing_is_half_and_the_next_run_finishes(tmp_path: Path) -> None:
    folder, place = tmp_path / "docs", tmp_path / "collections"
    folder.mkdir()
    for file in range(FILES):
        paragraphs = [f"paragraph {index} of {file} " + "word " * 20 for index in range(PARAGRAPHS)]
        (folder / f"{file}.txt").write_text("\n\n".join(paragraphs))
    embedder, chance = WordsEmbedder(), random.Random(5)
    collections = Collections(place)
    collection = collections.open(collections.create("notes", embedder.pin))
    counts = [0]
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(place), str(folder)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(chance.uniform(0.1, 0.5))
        child.kill()
        child.communicate()
        documents = collection.documents()
        assert all(len(collection.passages(each.id)) == PARAGRAPHS for each in documents)
        assert collection.count() == PARAGRAPHS * len(documents)
        counts.append(len(documents))
    assert counts == sorted(counts)
    assert 0 < counts[-1] < FILES, "killed too early or too late to show anything"
    done = run(collection, embedder, folder)
    assert (len(done.unchanged), len(done.added)) == (counts[-1], FILES - counts[-1])
    assert collection.count() == FILES * PARAGRAPHS
    assert collection.search("paragraph 3 of 41", embedder.embed(["paragraph 3 of 41"])[0], limit=1)[0].ordinal == 3


def test_two_processes_that_index_the_same_make_it_once(
    collections: Collections, collection: Collection, embedder: WordsEmbedder, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(indexing, "COMMIT_PASSAGES", 1)
    folder = tmp_path / "docs"
    folder.mkdir()
    for file in range(8):
        (folder / f"{file}.txt").write_text(f"text of {file}")
    child = subprocess.Popen([sys.executable, "-c", KILLED, collections.place, str(folder)], stdout=subprocess.PIPE)
    run(collection, embedder, folder)
    child.communicate(timeout=60)
    assert child.returncode == 0
    assert (len(collection.documents()), collection.count()) == (8, 8)
