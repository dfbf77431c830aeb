"""JavaScript's official packages: one script each, which throws at the first thing that is wrong."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "javascript"


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts in a folder with the packages they import, which npm fetches once."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    folder = tmp_path_factory.mktemp("javascript")
    shutil.copytree(SCRIPTS, folder, dirs_exist_ok=True)
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefer-offline"]
    subprocess.run(command, cwd=folder, check=True, timeout=120, capture_output=True)
    return folder


@pytest.mark.parametrize("package", [path.stem for path in SCRIPTS.glob("*.js")])
def test_the_package_works_as_its_users_call_it(scripts: Path, url: str, tool_model: str, package: str) -> None:
    command = ["node", f"{package}.js", url, tool_model]
    done = subprocess.run(command, cwd=scripts, check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
