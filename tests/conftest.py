from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_prefix_cache_on_disk() -> Iterator[None]:
    """What one test has computed is not there for another, nor for another run of the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUNA_PREFIX_CACHE", "0")
        yield
