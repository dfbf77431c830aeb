"""The README is true: its settings, its tree, its Python, and its two languages say the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from puna import paths

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = (ROOT.joinpath(name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_it_opens_with_the_two_commands(text: str) -> None:
    commands = BLOCK.findall(text)[0][1]
    assert commands == "pip install . && puna run cria \"你会说中文吗\"\npip install '.[test]' && pytest\n"
    assert text.index(commands) < 120


def test_both_languages_have_the_same_headings_blocks_and_links() -> None:
    for pattern in (r"^#+ ", r"^```\w*$", r"\]\((?!README)[^)]*\)", r"^\|", r"^puna \w+", r"^  \S+/"):
        english, chinese = (re.findall(pattern, text, re.MULTILINE) for text in (ENGLISH, CHINESE))
        assert english == chinese, pattern


def test_every_link_leads_to_a_file() -> None:
    for link in re.findall(r"\]\(([^)]*)\)", ENGLISH):
        assert (ROOT / link).exists(), link


def test_the_table_of_settings_is_the_one_in_the_code() -> None:
    rows = [f"| {' or '.join(f'`{name}`' for name in each.names)} | {each.meaning} |" for each in paths.VARIABLES]
    assert re.findall(r"^\| `.*$", ENGLISH, re.MULTILINE) == rows
    assert re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| `.*?\|", CHINESE, re.MULTILINE))) == [
        name for each in paths.VARIABLES for name in each.names
    ]


def test_the_tree_names_every_package() -> None:
    tree = next(block for kind, block in BLOCK.findall(ENGLISH) if kind == "")
    packages = {path.parent.name for path in (ROOT / "src" / "puna").glob("*/__init__.py")}
    assert packages <= set(re.findall(r"^  (\w+)/", tree, re.MULTILINE))
    for folder in re.findall(r"^(\w+)/ ", tree, re.MULTILINE):
        assert (ROOT / folder).is_dir()


def test_its_python_runs() -> None:
    [code] = [block for kind, block in BLOCK.findall(ENGLISH) if kind == "python"]
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert "中文" in done.stdout
    assert "hello" in done.stdout
