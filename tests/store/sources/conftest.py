"""A hub on loopback in place of the real ones, and an empty store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from puna.store import Store
from tests.store.sources.hub_server import Hub, hub_server


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Both hubs; the environment leads to it."""
    for name in ("PUNA_MIRRORS", "HF_TOKEN", "MODELSCOPE_API_TOKEN", "MODELSCOPE_DOMAIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token was saved"))
    with hub_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", running.url)
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Empty."""
    return Store(tmp_path / "models")
