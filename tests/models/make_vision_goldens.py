"""Writes goldens/llava.npz. `python -m tests.models.make_vision_goldens`

Needs the extra `oracle` (torch, transformers), and nothing of Puna. Of each picture of `tiny_llava`: `NAME_pixels`,
uint8, as transformers' image processor pads and resizes it; `NAME_vectors`, what tower and projector make of it; and
`NAME_logits` of the prompt with it, after the last tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from tests.models import tiny
from tests.models import tiny_llava as llava

GOLDENS = Path(__file__).parent / "goldens"
# llama.cpp's names -> transformers'
NAMES = {
    "v.class_embd": "model.vision_tower.embeddings.class_embedding",
    "v.patch_embd": "model.vision_tower.embeddings.patch_embedding",
    "v.position_embd": "model.vision_tower.embeddings.position_embedding",
    "v.pre_ln": "model.vision_tower.pre_layrnorm",
    "mm.0": "model.multi_modal_projector.linear_1",
    "mm.2": "model.multi_modal_projector.linear_2",
    "v.blk.": "model.vision_tower.encoder.layers.",
    "attn_out": "self_attn.out_proj",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
    "ln1": "layer_norm1",
    "ln2": "layer_norm2",
}


def main() -> None:
    """Make them anew."""
    torch.set_num_threads(1)
    model, size = loaded(), llava.VISION["image_size"]
    processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    )
    arrays: dict[str, Any] = {}
    for name in llava.PICTURES:
        values = processor(llava.picture(name), return_tensors="pt")["pixel_values"]
        raw = values[0].numpy().transpose(1, 2, 0) * np.array(llava.DEVIATION) + np.array(llava.MEAN)
        with torch.no_grad():
            vectors = model.model.get_image_features(pixel_values=values).pooler_output
            logits = model(input_ids=torch.tensor([llava.prompt()]), pixel_values=values).logits[0]
        arrays[f"{name}_pixels"] = np.rint(raw * 255).astype(np.uint8)
        arrays[f"{name}_vectors"] = vectors[0].numpy()[list(llava.SHOWN)]
        arrays[f"{name}_logits"] = logits[-llava.SHOWN_LOGITS :].numpy()
    np.savez_compressed(GOLDENS / "llava.npz", **arrays)


def loaded() -> Any:
    """The model, computed in float32."""
    model = transformers.LlavaForConditionalGeneration(transformers.LlavaConfig(**llava.CONFIG)).eval()
    tensors = {}
    for name, array in llava.weights().items():
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)  # noqa: PLW2901
        tensors[name] = torch.from_numpy(array)
    for name, array in tiny.drawn(llava.TEXT).items():
        tensors[f"model.language_{name}" if name.startswith("model.") else name] = torch.from_numpy(array)
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    unused = ("post_layernorm", f"layers.{llava.VISION['num_hidden_layers'] - 1}.", "position_ids")
    if unexpected or any("vision_tower" not in name or not any(part in name for part in unused) for name in missing):
        raise SystemExit(f"transformers did not take the weights as they are: {missing}, {unexpected}")
    return model


if __name__ == "__main__":
    main()
