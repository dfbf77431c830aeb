"""Imported files read by transformers: `python -m tests.conversion.check_transformers` (the extra `oracle`).

transformers' own reader of GGUF undoes the import; the logits must be those of the folder, bit for bit. It knows
neither rope scaling nor biases of llama, so those models are left to the goldens.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import transformers

from puna.conversion import import_folder
from tests.conversion.folders import tiny_model
from tests.models import tiny

READABLE = ("llama", "llama_tied", "qwen2", "qwen2_tied")


def main() -> None:
    """Check them all."""
    torch.set_num_threads(1)
    for name in READABLE:
        with tempfile.TemporaryDirectory() as temporary:
            folder = tiny_model(Path(temporary, "folder"), name)
            import_folder(folder, Path(temporary, "model.gguf"))
            before = logits(name, folder)
            after = logits(name, Path(temporary), gguf_file="model.gguf")
        print(f"{name}: {(before - after).abs().max():g}")
        if not torch.equal(before, after):
            raise SystemExit(f"{name}: the imported file has other logits")


def logits(name: str, path: Path, **options: str) -> torch.Tensor:
    """transformers' logits of the model's prompt."""
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **options)
    with torch.no_grad():
        return model(torch.tensor([tiny.prompt(name)])).logits


if __name__ == "__main__":
    main()
