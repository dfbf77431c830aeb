from collections.abc import Iterator

import httpx
import pytest

from tests.server.variant import CALLER, served_variant


@pytest.fixture(scope="module")
def tool_model(http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model that is told of tools: cria, whose own template does not know them, under one that does."""
    with served_variant(http, tmp_path_factory.mktemp("caller") / "caller.gguf", CALLER) as name:
        yield name
