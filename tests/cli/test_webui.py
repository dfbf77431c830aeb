"""`puna webui`: what Open WebUI is told, and what happens where it is not installed.

The real Open WebUI (3 GB) is checked by `scripts/check_open_webui.py`.
"""

from __future__ import annotations

import json
import os
import stat
from importlib.util import find_spec
from pathlib import Path

import pytest

from puna.cli.webui import data_folder, open_webui_environment
from tests.cli.process import puna

URL = "http://127.0.0.1:11434"


@pytest.mark.skipif(find_spec("open_webui") is not None, reason="Open WebUI is installed: it would start")
def test_without_open_webui_it_says_how_to_get_it() -> None:
    done = puna("webui")
    assert done.returncode == 1
    assert "pip install 'puna[webui]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_chats_and_documents_go_to_our_server_and_to_no_hub(tmp_path: Path) -> None:
    told = open_webui_environment(URL, tmp_path, key=None, sign_in=False, embedder="all-minilm")
    assert (told["OLLAMA_BASE_URL"], told["RAG_OLLAMA_BASE_URL"]) == (URL, URL)
    assert (told["RAG_EMBEDDING_ENGINE"], told["RAG_EMBEDDING_MODEL"]) == ("ollama", "all-minilm")
    assert (told["WEBUI_AUTH"], told["OFFLINE_MODE"], told["OLLAMA_API_CONFIGS"]) == ("False", "True", "{}")


def test_a_server_with_a_key_is_given_it_for_chats_and_for_embeddings(tmp_path: Path) -> None:
    told = open_webui_environment(URL, tmp_path, key="secret", sign_in=True, embedder="m")
    assert json.loads(told["OLLAMA_API_CONFIGS"])["0"]["key"] == told["RAG_OLLAMA_API_KEY"] == "secret"
    assert told["WEBUI_AUTH"] == "True"


def test_the_administrator_of_a_page_without_sign_in_is_not_known_to_one_that_others_reach(tmp_path: Path) -> None:
    assert data_folder(tmp_path, sign_in=True) != data_folder(tmp_path, sign_in=False)


def test_the_users_own_settings_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_EMBEDDING_MODEL", "mine")
    assert open_webui_environment(URL, tmp_path, key=None, sign_in=False, embedder="m")["RAG_EMBEDDING_MODEL"] == "mine"


def test_sessions_outlive_a_restart_and_their_secret_is_the_users_alone(tmp_path: Path) -> None:
    first, second = (
        open_webui_environment(URL, tmp_path, key=None, sign_in=False, embedder="m")["WEBUI_SECRET_KEY"]
        for _ in range(2)
    )
    assert first == second
    assert len(first) >= 32
    assert os.name == "nt" or stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
