"""The library is loaded once, with teams of 1 to 3 threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from puna import kernels
from tests.kernels.running import Kernels


@pytest.fixture(scope="session")
def library() -> kernels.KernelLibrary:
    return kernels.load()


@pytest.fixture(scope="session")
def run(library: kernels.KernelLibrary) -> Iterator[Kernels]:
    running = Kernels(library)
    yield running
    running.close()
