"""Writes goldens: transformers' logits and shapes of the tiny models. `python -m tests.models.make_goldens [NAME...]`

Of all models, or of those named. Needs the extra `oracle` (torch, transformers), and nothing of Puna. Each NAME.npz
holds float32 logits (len(SHOWN), vocab_size) for each type in which the weights may be stored: `f32`, and for some
models `f16`, `bf16`, `q8_0` and `q4_0`, where they are first rounded to what that type can say. shapes.json holds the
shapes of transformers' tensors.
"""

from __future__ import annotations

import json
import sys
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
from tests.gguf.huggingface.folders import safetensors, write_json
from tests.models import mixtures, tiny
from tests.models.tiny_configs import CONFIGS, TWINS

GOLDENS = Path(__file__).parent / "goldens"
ROUNDED = ("llama", "qwen2_tied")  # the models whose goldens are made for every type


def main() -> None:
    """Make all of them anew, or some."""
    torch.set_num_threads(1)
    GOLDENS.mkdir(exist_ok=True)
    names = sys.argv[1:] or [*CONFIGS, *mixtures.CONFIGS]
    known = json.loads(tiny.SHAPES.read_text()) if tiny.SHAPES.exists() else {}
    shapes = {name: known[name] for name in CONFIGS if name in known}
    shapes |= {name: shapes_of(name) for name in names if name in CONFIGS}
    lines = [f"{json.dumps(name)}: {json.dumps(found, separators=(',', ':'))}" for name, found in shapes.items()]
    tiny.SHAPES.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    for name in names:
        if name in mixtures.CONFIGS:
            np.savez_compressed(GOLDENS / f"{name}.npz", f32=mixture_logits(name))
            continue
        kinds = ("f32", "f16", "bf16", "q8_0", "q4_0") if name in ROUNDED else ("f32",)
        arrays: dict[str, Any] = {kind: logits(name, kind) for kind in kinds}
        np.savez_compressed(GOLDENS / f"{name}.npz", **arrays)
        print(name, np.ptp(arrays["f32"]))


def mixture_logits(name: str) -> NDArray[np.float32]:
    """The same of a mixture of experts."""
    with tempfile.TemporaryDirectory() as folder:
        return _run(mixtures.write_folder(Path(folder), name), mixtures.prompt(name))


def _config(name: str) -> dict[str, Any]:
    """What transformers gets."""
    return {key: value for key, value in TWINS.get(name, CONFIGS[name]).items() if value is not None}


def shapes_of(name: str) -> dict[str, list[int]]:
    """Of the tensors that transformers would save."""
    config = _config(name)
    model_class = getattr(transformers, config["architectures"][0])
    with torch.device("meta"):
        model = model_class(transformers.AutoConfig.for_model(**config))
    tied = model._tied_weights_keys if model.config.tie_word_embeddings else {}
    return {key: list(p.shape) for key, p in model.named_parameters() if key not in (tied or {})}


def logits(name: str, kind: str) -> NDArray[np.float32]:
    """transformers' logits, computed in float32 from the weights as the type has them."""
    tensors = tiny.drawn(name)
    if kind in ("q8_0", "q4_0"):
        tensors = tiny.rounded(tensors, _rounding(gguf.GGMLQuantizationType[kind.upper()]))
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder, "config.json"), _config(name))
        raw = safetensors(tensors, kind.upper() if kind in ("f16", "bf16") else "F32")
        Path(folder, "model.safetensors").write_bytes(raw)
        return _run(Path(folder), tiny.prompt(name))


def _run(folder: Path, prompt: list[int]) -> NDArray[np.float32]:
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    wrong = {key: value for key, value in report.items() if value}
    if wrong:
        raise SystemExit(f"{model.config.architectures}: transformers did not take the weights as they are: {wrong}")
    model.eval()
    with torch.no_grad():
        found = model(torch.tensor([prompt])).logits[0]
    return np.ascontiguousarray(found.numpy()[list(tiny.SHOWN)])


def _rounding(kind: gguf.GGMLQuantizationType) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    return partial(_round, kind=kind)


def _round(array: NDArray[np.float32], kind: gguf.GGMLQuantizationType) -> NDArray[np.float32]:
    values: NDArray[np.float32] = gguf.quants.dequantize(gguf.quants.quantize(array, kind), kind)
    return values


if __name__ == "__main__":
    main()
