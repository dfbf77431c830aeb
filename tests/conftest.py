from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.process import server_process


@pytest.fixture(scope="session", autouse=True)
def _no_prefix_cache_on_disk() -> Iterator[None]:
    """What one test has computed is not there for another, nor for another run of the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUNA_PREFIX_CACHE", "0")
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_keys_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nor is what is used in tests counted among what the user has used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUNA_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's model store: empty, so that cria is all there is."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def url(models: Path) -> Iterator[str]:
    """A server for all tests, its kernels compiled (which takes a minute where it was never done)."""
    with server_process(models) as url:
        httpx.post(f"{url}/api/generate", json={"model": "cria"}, timeout=280).raise_for_status()
        yield url


@pytest.fixture(scope="session")
def http(url: str) -> Iterator[httpx.Client]:
    """Plain requests to it."""
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client
