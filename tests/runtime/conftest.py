from collections.abc import Iterator
from pathlib import Path

import pytest

from puna.runtime import Runtime
from puna.store import Store


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """One runtime for all tests that leave it as it was: cria is loaded once."""
    with Runtime(Store(tmp_path_factory.mktemp("models")), threads=1) as runtime:
        yield runtime


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A store folder of the test's own."""
    return tmp_path / "models"
