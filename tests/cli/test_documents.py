"""index, search and ask: a real process, real models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import minilm
from tests.cli.process import puna


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "cats.md").write_text("# Cats\n\nThe cat sleeps on the sofa.\n\n# Food\n\nIt eats fish every evening.\n")
    (folder / "数据库.txt").write_text("向量数据库支持全文检索。")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


def test_index_search_ask_and_delete(docs: Path) -> None:
    made = puna("index", "pets", str(docs))
    assert made.stdout == "pets: 2 documents, 3 passages\n", made.stderr
    assert ("puna pull all-minilm" in made.stderr) == (not minilm.NAMES), "who has no good model is told of one"
    assert made.stderr.endswith("2 added\nleft out, of kinds that are not read: 1 .png\n")
    assert "2 unchanged" in puna("index", "pets", str(docs)).stderr
    assert puna("index").stdout.splitlines()[1].split()[:3] == ["pets", "2", (minilm.NAMES or ["cria:latest"])[0]]

    found = puna("search", "pets", "sleeping cat", "--mode", "text").stdout
    assert found.startswith(f"[1] {docs}/cats.md, Cats, line 3  1.00\n    The cat sleeps on the sofa.\n")
    [hit] = map(json.loads, puna("search", "pets", "数据", "--limit", "1", "--json").stdout.splitlines())
    assert hit["text"] == "向量数据库支持全文检索。"

    answered = puna("ask", "pets", "What does the cat eat?", "--max-tokens", "20")
    answer, _, sources = answered.stdout.partition("\n\n[1] ")
    assert answer
    assert "cats.md, Food, line 7" in sources
    assert answered.returncode == 0, answered.stderr

    assert puna("index", "pets", "--delete").returncode == 0
    assert "there is none yet" in puna("search", "pets", "cat").stderr


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (("index", "pets"), 2, "give the files or folders"),
        (("index", "pets", "nowhere"), 1, "there is no such file or folder"),
        (("search", "pets", "x"), 1, "collection 'pets' not found"),
        (("search", "pets", "x", "--mode", "magic"), 1, "not found"),
        (("index", "pets", ".", "--chunk-tokens", "100000"), 1, "do not fit the embedding model"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(arguments: tuple[str, ...], status: int, why: str) -> None:
    done = puna(*arguments)
    assert done.returncode == status
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path) -> None:
    """A module of that name that is not there stands for a package that is not installed."""
    (tmp_path / "lancedb.py").write_text("raise ModuleNotFoundError('no', name='lancedb')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "puna", "index"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"pip install 'puna[rag]'" in done.stderr


def test_help_imports_neither_the_vector_store_nor_the_compiler() -> None:
    script = (
        "import sys\nfrom puna.cli.app import app\ntry:\n    app(['index', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'lancedb', 'pyarrow', 'numba', 'numpy', 'llvmlite'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
