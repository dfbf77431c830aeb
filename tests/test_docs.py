"""The documents name what exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_package_has_its_sentence_in_structure() -> None:
    page = (ROOT / "docs" / "structure.md").read_text()
    for package in (ROOT / "src" / "puna").iterdir():
        if (package / "__init__.py").is_file() or package.name == "data":
            assert f"`{package.name}`" in page, f"docs/structure.md says nothing of {package.name}"


def test_every_run_time_dependency_earns_its_place() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name = re.split(r"[><=\[ ]", requirement)[0]
        assert re.search(rf"^\| .*\b{re.escape(name)}\b.* \|", page, re.MULTILINE), f"{name} is not in the table"


def test_no_file_is_longer_than_a_reader_bears() -> None:
    long = {
        path.name: lines for path in (ROOT / "src").rglob("*.py") if (lines := len(path.read_text().splitlines())) > 500
    }
    assert not long
