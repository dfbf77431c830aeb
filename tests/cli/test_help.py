"""The command line as a whole: quick to start, documented, and its exit codes."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.cli.process import puna

HEAVY = ("numba", "llvmlite", "numpy", "tokenizers", "fastapi", "pydantic", "jinja2", "httpx", "prompt_toolkit")
VERBS = ("run", "create", "serve", "webui", "list", "show", "ps", "stop", "tokenize", "render", "keys", "plan", "bench")


def test_help_imports_nothing_that_a_verb_alone_needs() -> None:
    code = f"""
import sys
from puna.cli import main
sys.argv = ["puna", "--help"]
try:
    main()
finally:
    print(set({HEAVY!r}) & set(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"


def test_help_takes_well_under_a_second() -> None:
    times = []
    for _ in range(3):  # the best of three: the machine may be busy with something else
        start = time.monotonic()
        puna("--help")
        times.append(time.monotonic() - start)
    assert min(times) < 0.9


def test_help_names_every_verb_and_every_verb_has_help() -> None:
    text = puna("--help").stdout
    for verb in VERBS:
        assert f" {verb} " in text
        assert puna(verb, "-h").returncode == 0


def test_version_is_printed_as_ollama_prints_its() -> None:
    assert puna("--version").stdout == f"puna version is {version('puna')}\n"


def test_no_verb_shows_the_help() -> None:
    assert "Usage: puna" in (done := puna()).stdout + done.stderr


@pytest.mark.parametrize(
    "line",
    ["nonsense", "run", "run cria", "run cria hi --top-p 2", "run cria --nonsense", "show cria --system --template"],
)
def test_wrong_usage_exits_with_2_and_says_so_on_stderr(line: str) -> None:
    done = puna(*line.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage" in done.stderr or "Error" in done.stderr


def test_an_error_of_ours_is_one_line_without_a_traceback_and_exits_with_1() -> None:
    done = puna("run", "--no-pull", "no-such-model", "hi")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: model 'no-such-model' not found")
    assert done.stderr.count("\n") == 1


def test_the_page_of_the_documentation_is_the_one_the_program_makes() -> None:
    root = Path(__file__).parent.parent.parent
    code = "import cli_docs; print(ascii(cli_docs.document()))"
    made = subprocess.check_output([sys.executable, "-c", code], cwd=root / "scripts", text=True)
    written = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    assert made == ascii(written) + "\n", "run: python scripts/cli_docs.py"
