"""`general.*`: what a GGUF says of its model for people, from the folder and its model card.

A model card is a README.md that begins with YAML between lines of `---` (Hugging Face's docs/hub/model-cards). Keys are
those of ggml's docs/gguf.md. Knows nothing of weights and tokenizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from puna.gguf import ModelFile, Value

MAX_CARD = 1 << 16  # bytes; a card's YAML has some hundred
MAX_TEXT = 4096  # characters of a value

_TEXTS = {"license": "license", "license_name": "license.name", "license_link": "license.link"}
_LISTS = {"tags": "tags", "language": "languages", "datasets": "datasets"}
_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def general_metadata(folder: Path, file: ModelFile) -> tuple[dict[str, Value], tuple[str, ...]]:
    """The keys, and what to warn of: a card that cannot be read costs its keys and nothing else."""
    values: dict[str, Value] = {
        "general.type": "model",
        "general.size_label": size_label(sum(tensor.elements for tensor in file.tensors.values())),
    }
    try:
        return values | _from_card(_card(folder / "README.md")), ()
    except ValueError as error:
        return values, (f"README.md: the model card cannot be read and is left out: {error}",)


def size_label(parameters: int) -> str:
    """The number of parameters as it stands in a file's name: 135M, 1.1B, 70B."""
    unit, letter = next(((unit, letter) for unit, letter in _UNITS if parameters >= unit), (1e3, "K"))
    count = parameters / unit
    return f"{count:.1f}{letter}" if count < 9.5 else f"{count:.0f}{letter}"


def _card(path: Path) -> Mapping[str, Any]:
    """The card's YAML; {} where there is none. Raises ValueError for one that makes no sense."""
    import yaml  # slow to import, and most verbs import no model

    if not path.is_file():
        return {}
    with path.open("rb") as file:
        text = file.read(MAX_CARD).decode("utf-8", "replace")
    begin, _, rest = text.replace("\r\n", "\n").partition("---\n")
    block, end, _ = rest.partition("\n---")
    if begin.strip() or not end:
        return {}
    try:
        # All texts stay texts, "no" (Norwegian) among them; and no merge keys, which can ask for endless work.
        found = yaml.load(block, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None
    if not isinstance(found, dict):
        raise ValueError("its YAML is no map")
    return found


def _from_card(card: Mapping[str, Any]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, key in _TEXTS.items():
        if isinstance(card.get(name), str) and card[name]:
            values[f"general.{key}"] = card[name][:MAX_TEXT]
    for name, key in _LISTS.items():
        if found := _texts(card.get(name)):
            values[f"general.{key}"] = found
    bases = _texts(card.get("base_model"))
    if bases:
        values["general.base_model.count"] = len(bases)
    for number, base in enumerate(bases):
        organization, _, name = base.rpartition("/")
        values[f"general.base_model.{number}.name"] = name
        if organization:
            values[f"general.base_model.{number}.organization"] = organization
            values[f"general.base_model.{number}.repo_url"] = f"https://huggingface.co/{base}"
    return values


def _texts(value: Any) -> list[str]:
    """A text or a list of texts."""
    found = value if isinstance(value, list) else [value]
    return [item[:MAX_TEXT] for item in found[:100] if isinstance(item, str) and item]
