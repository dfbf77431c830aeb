"""PUNA_MIRRORS: read as it is written, and asked first."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from puna.errors import InvalidRequest
from puna.store import Store
from puna.store.mirrors import mirrors_of, parse
from puna.store.names import ModelName
from puna.store.progress import ignore
from puna.store.registry.pulling import pull
from puna.store.transfer.retrying import Patience
from tests.store.registry_server import RegistryServer, answers


def test_hosts_have_mirrors_in_the_order_given_whatever_parts_the_entries() -> None:
    found = parse("registry.ollama.ai=https://a.example/,http://nas:5000;hf.co=https://hf-mirror.com x=https://y")
    assert found == {
        "registry.ollama.ai": ("https://a.example", "http://nas:5000"),
        "hf.co": ("https://hf-mirror.com",),
        "x": ("https://y",),
    }


def test_both_names_of_a_hub_have_the_same_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUNA_MIRRORS", "HuggingFace.co=https://hf-mirror.com;modelscope.cn=https://m")
    assert mirrors_of("hf.co") == mirrors_of("huggingface.co") == ("https://hf-mirror.com",)
    assert mirrors_of("www.modelscope.cn") == ("https://m",)
    assert mirrors_of("registry.ollama.ai") == ()


@pytest.mark.parametrize(
    "text", ["hf.co", "hf.co=", "=https://x", "hf.co=hf-mirror.com", "hf.co=ftp://x", "a=https://["]
)
def test_what_is_not_written_so_is_refused_and_not_ignored(text: str) -> None:
    with pytest.raises(InvalidRequest, match="PUNA_MIRRORS"):
        parse(text)


def test_a_model_comes_from_its_mirror_and_from_the_next_one_where_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, patience = ModelName.parse("registry.example/library/tiny"), Patience(attempts=2, first=0.01)
    with RegistryServer() as broken, RegistryServer() as whole:
        raw = whole.add_model("library/tiny", "latest", [("application/vnd.ollama.image.model", bytes(5000))])
        broken.add_model("library/tiny", "latest", [("application/vnd.ollama.image.model", bytes(5000))])
        broken.faults.append(answers(500, of="/blobs/"))
        monkeypatch.setenv("PUNA_MIRRORS", f"registry.example={broken.url},{whole.url}")
        store = Store(tmp_path)
        pull(store, name, report=ignore, cancelled=threading.Event(), patience=patience)
    assert (tmp_path / "manifests/registry.example/library/tiny/latest").read_bytes() == raw
    assert broken.asked("GET", "manifests")
    assert whole.asked("GET", "blobs")
