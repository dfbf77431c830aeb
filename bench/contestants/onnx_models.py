"""Exports a BERT-like embedder for ONNX Runtime: in float32, with its operators fused, and in dynamic int8.

`python -m bench.contestants.onnx_models FOLDER TARGET` in an environment with torch, transformers, onnx and
onnxruntime. Writes f32.onnx, fused.onnx and int8.onnx; the vectors are the mean of the final states, of length 1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions
from transformers import AutoModel

NAMES = ("input_ids", "attention_mask", "token_type_ids")


class Embedder(torch.nn.Module):  # type: ignore[misc]
    """Token ids to unit vectors, as sentence-transformers makes them."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
        """(texts, width)"""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        states = self.model(**inputs).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)


def main(folder: str, target: Path) -> None:
    """Write the three."""
    target.mkdir(parents=True, exist_ok=True)
    embedder, ids = Embedder(folder), torch.ones((2, 128), dtype=torch.long)
    torch.onnx.export(
        embedder, (ids, torch.ones_like(ids), torch.zeros_like(ids)), str(target / "f32.onnx"),
        input_names=list(NAMES), output_names=["vectors"], opset_version=17, dynamo=False,
        dynamic_axes={name: {0: "texts", 1: "tokens"} for name in NAMES},
    )  # fmt: skip
    c = embedder.model.config
    fused = optimizer.optimize_model(
        str(target / "f32.onnx"), model_type="bert", num_heads=c.num_attention_heads, hidden_size=c.hidden_size,
        optimization_options=FusionOptions("bert"), opt_level=1,
    )  # fmt: skip
    fused.save_model_to_file(str(target / "fused.onnx"))
    quantize_dynamic(str(target / "f32.onnx"), str(target / "int8.onnx"), weight_type=QuantType.QInt8)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
