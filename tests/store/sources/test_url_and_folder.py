"""A GGUF file at an address, and files of this disk."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from puna.errors import InvalidRequest, ModelNotFound, TransferError
from puna.store import Store, pulling
from puna.store.progress import ignore
from puna.store.sources import folder, url
from puna.store.sources.choosing import AtUrl, OnDisk, source_of
from puna.store.store import CRIA
from tests import minilm
from tests.store.sources.hub_server import Hub


@pytest.fixture(scope="module")
def cria() -> Path:
    return Store().resolve(str(CRIA)).path


def fetch_url(store: Store, text: str) -> None:
    origin = source_of(text)
    assert isinstance(origin, AtUrl)
    url.fetch(store, origin, ignore, threading.Event())


def fetch_path(store: Store, path: Path, *, reference: bool = False) -> str:
    origin = source_of(str(path))
    assert isinstance(origin, OnDisk)
    folder.fetch(store, origin, ignore, threading.Event(), reference=reference)
    return str(origin.name)


def test_a_file_at_an_address_comes_whole_under_a_name_of_its_host(hub: Hub, store: Store, cria: Path) -> None:
    hub.files["files"] = {"Cria-Q8_0.gguf": cria.read_bytes()}
    fetch_url(store, f"{hub.url}/files/Cria-Q8_0.gguf")
    model = store.resolve(f"{hub.url.removeprefix('http://')}/library/Cria:Q8_0")
    assert model.path.read_bytes() == cria.read_bytes()


def test_an_address_that_gives_a_page_and_no_model_leaves_no_model(hub: Hub, store: Store) -> None:
    hub.files["files"] = {"m.gguf": b"<html>" * 1000}
    with pytest.raises(InvalidRequest, match="not in GGUF format"):
        fetch_url(store, f"{hub.url}/files/m.gguf")
    assert {model.name for model in store.list()} == {str(CRIA), *minilm.NAMES}


def test_an_address_with_nothing_behind_it_is_told_so(hub: Hub, store: Store) -> None:
    hub.files["files"] = {}
    with pytest.raises((TransferError, ModelNotFound), match="404"):
        fetch_url(store, f"{hub.url}/none/m.gguf")


def test_a_file_of_this_disk_is_copied_or_used_in_place(store: Store, cria: Path, tmp_path: Path) -> None:
    path = tmp_path / "Mine-Q8_0.gguf"
    path.write_bytes(cria.read_bytes())
    assert fetch_path(store, path, reference=True) == "Mine:Q8_0"
    assert store.resolve("Mine:Q8_0").path.is_symlink()
    assert fetch_path(Store(tmp_path / "other"), path) == "Mine:Q8_0"
    copied = Store(tmp_path / "other").resolve("Mine:Q8_0").path
    assert not copied.is_symlink()
    assert copied.read_bytes() == path.read_bytes()


def test_a_path_with_nothing_at_it_is_told_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no such file"):
        fetch_path(store, tmp_path / "none.gguf")


def test_pull_tells_addresses_and_paths_apart_and_what_they_would_take(
    hub: Hub, store: Store, cria: Path, tmp_path: Path
) -> None:
    hub.files["files"] = {"m-Q8_0.gguf": cria.read_bytes()}
    address, path = f"{hub.url}/files/m-Q8_0.gguf", tmp_path / "Here-Q8_0.gguf"
    path.write_bytes(cria.read_bytes())
    cancelled = threading.Event()
    [there], [here] = (pulling.plan(store, str(text), cancelled=cancelled) for text in (address, path))
    assert (there.size, there.here) == (len(cria.read_bytes()), 0)
    assert here.size == here.here == len(cria.read_bytes())
    for text in (address, path):
        name = pulling.pull(store, str(text), report=ignore, cancelled=cancelled)
        assert store.resolve(str(name)).path.read_bytes() == cria.read_bytes()
