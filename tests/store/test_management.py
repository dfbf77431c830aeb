from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from puna.errors import InvalidRequest, ModelNotFound, StoreError, UnsupportedModel
from puna.store import ModelName, Store, layers, locking, management, manifest
from puna.store.pruning import FRESH, Unused, prune
from tests.store.ollama_store import add_blob, add_manifest, add_model

LLAMA = ModelName.parse("llama")
WEIGHTS = b"GGUF weights of llama"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "models"
    add_model(path, gguf=WEIGHTS)
    return path


def blobs_of(root: Path) -> set[str]:
    return {path.name.removeprefix("sha256-") for path in (root / "blobs").iterdir()}


def test_removing_a_model_removes_what_only_it_used(root: Path) -> None:
    add_model(root, "hf.co/me/other/latest", gguf=WEIGHTS, layers=[("system", b"own")])
    own = hashlib.sha256(b"own").hexdigest()
    assert management.remove(root, ModelName.parse("hf.co/me/other")) == len(b"own")
    assert own not in blobs_of(root)
    assert management.is_there(root, LLAMA)
    assert not (root / "manifests/hf.co").exists(), "empty folders go"
    management.remove(root, LLAMA)
    assert blobs_of(root) == set()
    assert (root / "manifests").is_dir()


def test_removing_goes_by_the_name_in_any_case(root: Path) -> None:
    management.remove(root, ModelName.parse("LLAMA:Latest"))
    assert not management.is_there(root, LLAMA)


def test_of_two_names_that_differ_in_case_only_the_one_that_is_meant_is_removed(root: Path) -> None:
    """On a disk that knows case, Ollama may have left both."""
    add_model(root, "registry.ollama.ai/library/LLAMA/latest")
    management.remove(root, LLAMA)
    assert [str(name) for name, _ in manifest.names(root)] == ["LLAMA:latest"]


def test_what_is_not_there_or_in_the_box_is_not_removed(root: Path) -> None:
    with pytest.raises(ModelNotFound, match="'nope:latest' not found"):
        management.remove(root, ModelName.parse("nope"))
    with pytest.raises(InvalidRequest, match="part of the Python package puna"):
        management.remove(root, ModelName.parse("cria"))
    add_model(root, "registry.ollama.ai/library/cria/latest")
    management.remove(root, ModelName.parse("cria"))
    assert not management.is_there(root, ModelName.parse("cria"))


def test_a_damaged_model_can_be_removed(root: Path) -> None:
    digest = add_blob(root, b"part").removeprefix("sha256:")
    add_manifest(root, "h/n/m/t", f'{{"config": "sha256:{digest}", '.encode())
    management.remove(root, ModelName.parse("h/n/m:t"))
    assert digest not in blobs_of(root)
    assert not management.is_there(root, ModelName.parse("h/n/m:t"))


def test_a_damaged_manifest_still_keeps_the_blobs_that_it_names(root: Path) -> None:
    weights = hashlib.sha256(WEIGHTS).hexdigest()
    add_manifest(root, "h/n/m/t", f'{{"layers": [{{"digest": "sha256:{weights}"'.encode())
    management.remove(root, LLAMA)
    assert weights in blobs_of(root)


def test_a_blob_that_an_operation_counts_on_is_not_removed(root: Path) -> None:
    weights = hashlib.sha256(WEIGHTS).hexdigest()
    store = Store(root)
    with store.blobs.pinned() as blobs:
        blobs.pin([weights])
        management.remove(root, LLAMA)
        assert blobs.has(weights)
    prune(root, everything=True)
    assert weights not in blobs_of(root)


def test_a_commit_without_all_blobs_is_refused_and_the_old_model_stays(root: Path) -> None:
    store = Store(root)
    before = (root / "manifests/registry.ollama.ai/library/llama/latest").read_bytes()
    with store.blobs.pinned() as blobs:
        config = blobs.add_bytes(b"{}", layers.CONFIG)
        missing = layers.Layer(layers.MODEL, "ab" * 32, 3)
        short = layers.Layer(layers.MODEL, config.digest, 3)
        for layer in (missing, short):
            with pytest.raises(StoreError, match=f"not complete.*{layer.digest}"):
                management.commit(root, LLAMA, layers.manifest_bytes(config, (layer,)))
        with pytest.raises(UnsupportedModel, match="not a model manifest"):
            management.commit(root, LLAMA, b"<html>")
    assert (root / "manifests/registry.ollama.ai/library/llama/latest").read_bytes() == before


def test_a_commit_replaces_the_model_of_that_name_in_any_case_and_frees_what_it_used(root: Path) -> None:
    store = Store(root)
    with store.blobs.pinned() as blobs:
        config = blobs.add_bytes(b"{}", layers.CONFIG)
        new = blobs.add_bytes(b"new weights", layers.MODEL)
        management.commit(root, ModelName.parse("Llama:LATEST"), layers.manifest_bytes(config, (new,)))
    assert [path.name for path in (root / "manifests/registry.ollama.ai/library").iterdir()] == ["llama"]
    assert blobs_of(root) == {config.digest, new.digest}


def test_a_new_name_joins_the_folders_that_differ_in_case_only(root: Path) -> None:
    """Else `Me` and `me` would be two folders here, and one on a disk that knows no case."""
    add_model(root, "hf.co/Me/Model/a")
    management.copy(Store(root), LLAMA, ModelName.parse("HF.co/me/model:b"))
    assert (root / "manifests/hf.co/Me/Model/b").is_file()


def test_copying_costs_no_space_and_a_copy_outlives_its_source(root: Path) -> None:
    before = blobs_of(root)
    management.copy(Store(root), LLAMA, ModelName.parse("me/copy"))
    assert blobs_of(root) == before
    management.remove(root, LLAMA)
    assert Store(root).resolve("me/copy").path.read_bytes() == WEIGHTS
    with pytest.raises(ModelNotFound):
        management.copy(Store(root), LLAMA, ModelName.parse("x"))


def test_a_model_copied_onto_itself_is_still_there(root: Path) -> None:
    management.copy(Store(root), LLAMA, ModelName.parse("Llama"))
    assert Store(root).resolve("llama").name == "llama:latest"


def test_the_model_in_the_box_can_be_copied_into_the_store(root: Path) -> None:
    store = Store(root)
    management.copy(store, ModelName.parse("cria"), ModelName.parse("mine"))
    box, mine = store.resolve("cria"), store.resolve("mine")
    assert mine.path.read_bytes() == box.path.read_bytes()
    assert (mine.details.family, mine.details.parameter_size) == (box.details.family, box.details.parameter_size)


def test_pruning_takes_what_no_model_uses_and_spares_what_is_fresh(root: Path) -> None:
    used = blobs_of(root)
    for data in (b"old", b"fresh"):
        add_blob(root, data)
    old = root / "blobs" / f"sha256-{hashlib.sha256(b'old').hexdigest()}"
    long_ago = time.time() - FRESH - 1
    os.utime(old, (long_ago, long_ago))
    stray = root / "blobs" / "notes.txt"
    stray.touch()
    assert prune(root, dry_run=True) == [Unused(old, 3)]
    assert old.exists()
    assert prune(root) == [Unused(old, 3)]
    assert len(prune(root, everything=True)) == 1
    assert blobs_of(root) == {*used, "notes.txt"}, "what is no blob belongs to somebody else"


def test_pruning_removes_links_but_never_the_files_behind_them(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"mine")
    store = Store(root)
    with store.blobs.pinned() as blobs:
        digest = blobs.add_file(file, layers.MODEL, reference=True).digest
        assert prune(root, everything=True) == []
    assert [each.path.name for each in prune(root, everything=True)] == [f"sha256-{digest}"]
    assert file.read_bytes() == b"mine"
    assert not any((store.blobs.own / "references").iterdir())


def test_pruning_spares_partial_downloads_unless_told_and_those_in_progress_always(root: Path) -> None:
    partials = Store(root).blobs.partials
    partials.mkdir(parents=True)
    for name in ("ended", "going on"):
        (partials / name).write_bytes(b"half")
    with (partials / "going on").open("rb+") as file:
        assert locking.try_lock(file.fileno())
        assert prune(root) == []
        assert [each.path.name for each in prune(root, everything=True)] == ["ended"]
        assert (partials / "going on").exists()


def test_pruning_does_not_take_what_another_thread_is_writing(root: Path) -> None:
    with Store(root).blobs.writer() as writer:
        writer.write(b"half")
        assert prune(root, everything=True) == []
        assert writer.finish() == (hashlib.sha256(b"half").hexdigest(), 4)


def test_pruning_a_store_that_is_not_there_makes_none(tmp_path: Path) -> None:
    assert prune(tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_a_manifest_that_cannot_be_read_makes_pruning_stop(root: Path) -> None:
    """Nobody knows what it names."""
    path = root / "manifests/registry.ollama.ai/library/llama/latest"
    path.unlink()
    path.symlink_to("/proc/self/mem")
    with pytest.raises(StoreError, match="cannot read"):
        prune(root, everything=True)
    assert len(blobs_of(root)) == 2
