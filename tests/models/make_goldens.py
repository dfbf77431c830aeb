"""Writes goldens/*.npz: transformers' logits of the tiny models. `python -m tests.models.make_goldens`

Needs the extra `oracle` (torch, transformers), and nothing of Puna. Each file holds float32 logits
(len(SHOWN), vocab_size) for each type in which the weights may be stored: `f32`, and for some models `f16`, `bf16`,
`q8_0` and `q4_0`, where the weights are first rounded to what that type can say.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

import gguf
from tests.models import tiny

GOLDENS = Path(__file__).parent / "goldens"
ROUNDED = ("llama", "qwen2_tied")  # the models whose goldens are made for every type


def main() -> None:
    """Make all of them anew."""
    torch.set_num_threads(1)
    GOLDENS.mkdir(exist_ok=True)
    for name in tiny.CONFIGS:
        kinds = ("f32", "f16", "bf16", "q8_0", "q4_0") if name in ROUNDED else ("f32",)
        arrays: dict[str, Any] = {kind: logits(name, kind) for kind in kinds}
        np.savez_compressed(GOLDENS / f"{name}.npz", **arrays)


def logits(name: str, kind: str) -> NDArray[np.float32]:
    """transformers' logits, computed in float32 from the weights as the type has them."""
    tensors = tiny.weights(name)
    if kind in ("q8_0", "q4_0"):
        tensors = tiny.rounded(tensors, _rounding(gguf.GGMLQuantizationType[kind.upper()]))
    dtype = kind.upper() if kind in ("f16", "bf16") else "F32"
    with tempfile.TemporaryDirectory() as folder:
        tiny.write_folder(Path(folder), name, tensors=tensors, dtype=dtype)
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    wrong = {key: value for key, value in report.items() if value}
    if wrong:
        raise SystemExit(f"{name}: transformers did not take the weights as they are: {wrong}")
    with torch.no_grad():
        found = model(torch.tensor([tiny.prompt(name)])).logits[0]
    return np.ascontiguousarray(found.numpy()[list(tiny.SHOWN)])


def _rounding(kind: gguf.GGMLQuantizationType) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    return partial(_round, kind=kind)


def _round(array: NDArray[np.float32], kind: gguf.GGMLQuantizationType) -> NDArray[np.float32]:
    values: NDArray[np.float32] = gguf.quants.dequantize(gguf.quants.quantize(array, kind), kind)
    return values


if __name__ == "__main__":
    main()
