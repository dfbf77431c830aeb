"""`puna pull` and `puna run`'s own pull, as a user sees them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from puna.store import layers
from puna.store.store import CRIA, Store
from tests.cli.process import Terminal, puna
from tests.store.registry_server import RegistryServer


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryServer]:
    """With cria, under another name; the store is empty."""
    monkeypatch.setenv("PUNA_MODELS", str(tmp_path))
    with RegistryServer() as running:
        weights = Store(tmp_path).resolve(str(CRIA)).path.read_bytes()
        running.add_model("me/tiny", "latest", [(layers.MODEL, weights), (layers.LICENSE, os.urandom(3))])
        yield running


def test_a_dry_run_says_what_it_would_take_and_fetches_nothing(registry: RegistryServer) -> None:
    done = puna("pull", f"{registry.host}/me/tiny", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows[:4]] == ["PART", "model", "license", "config"]
    assert "to fetch, 0 B here already" in done.stdout
    assert registry.sent == 0


def test_a_terminal_shows_bars_and_a_pipe_gets_lines(registry: RegistryServer) -> None:
    with Terminal("pull", f"{registry.host}/me/tiny") as terminal:
        terminal.expect("pulling manifest")
        terminal.expect("3.4/3.4 MB")
        terminal.expect("success")
        assert terminal.wait() == 0
    done = puna("pull", f"{registry.host}/me/tiny")
    assert (done.returncode, done.stdout) == (0, "")
    lines = done.stderr.splitlines()
    assert (lines[0], lines[-1]) == ("pulling manifest", "success")
    assert len([line for line in lines if " of " in line]) == 3


def test_a_model_that_is_not_here_is_pulled_and_answers(registry: RegistryServer) -> None:
    done = puna("run", f"{registry.host}/me/tiny", "hello", "--max-tokens", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "writing manifest" in done.stderr


def test_a_model_that_is_nowhere_is_one_line_of_error(registry: RegistryServer) -> None:
    done = puna("run", f"{registry.host}/me/none", "hello")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be pulled: pull model manifest: file does not exist" in done.stderr
    kept = puna("run", f"{registry.host}/me/tiny", "hello", "--no-pull")
    assert (kept.returncode, kept.stderr.count("\n")) == (1, 1)
    assert "me/tiny" in kept.stderr
