"""How a folder's vectors are made of its tokens' states: sentence-transformers' files as GGUF's pooling_type.

modules.json names the steps; what Puna does after the model are pooling and normalisation. Knows no weights.
"""

from __future__ import annotations

import json
from pathlib import Path

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf.huggingface.json_file import read_bytes, read_object

MEAN, CLS, LAST, RANK = 1, 2, 3, 4  # GGUF's numbers

_MODES = {"mean": MEAN, "mean_tokens": MEAN, "cls": CLS, "cls_token": CLS, "lasttoken": LAST}
_FLAG = "pooling_mode_"  # before a mode, in a settings file's keys
_KNOWN = ("Transformer", "Pooling", "Normalize")


def pooling_type(folder: Path) -> int | None:
    """GGUF's number; None where the folder does not say. Raises InvalidGGUF, UnsupportedModel."""
    source = folder / "modules.json"
    if not source.is_file():
        return None
    path: str | None = None
    for module in _modules(source):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind not in _KNOWN:
            raise UnsupportedModel(f"{source}: the step {kind!r:.40} after the model is not supported")
        if kind == "Pooling":
            path = str(module.get("path", ""))
    return None if path is None else _mode(source, path)


def _modules(source: Path) -> list[dict[str, object]]:
    try:
        modules = json.loads(read_bytes(source))
    except (ValueError, RecursionError) as error:
        raise InvalidGGUF(f"{source}: not valid JSON: {error}") from None
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise InvalidGGUF(f"{source}: not a list of objects")
    return modules


def _mode(source: Path, path: str) -> int:
    if not path or path != Path(path).name:
        raise InvalidGGUF(f"{source}: {path!r:.80} is not the name of a folder in this one")
    settings = read_object(source.parent / path / "config.json")
    chosen = [key.removeprefix(_FLAG) for key, value in settings.items() if key.startswith(_FLAG) and value is True]
    if isinstance(settings.get("pooling_mode"), str):  # since sentence-transformers 5
        chosen = [settings["pooling_mode"]]
    if len(chosen) != 1 or chosen[0] not in _MODES:
        shown = ", ".join(chosen) or "none"
        raise UnsupportedModel(f"{source.parent / path}: pooling by {shown}; known are {', '.join(_MODES)}")
    return _MODES[chosen[0]]
