"""Writes cria as a GGUF file in Q8_0 (architecture llama, pre-tokenizer qwen2) that Puna and llama.cpp read.

It knows GGUF's names and layouts of weights, and nothing of training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from puna.gguf import GGMLType, GGUFWriter, quantize
from training.model import Llama, LlamaConfig
from training.template import CHAT_TEMPLATE
from training.tokenizer import SPECIAL

MOSTLY_Q8_0 = 7  # llama.cpp's file type
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4  # GGUF's token types


def export(model: Llama, tokenizer: Tokenizer, path: Path) -> None:
    """Write the file."""
    writer = GGUFWriter("llama")
    _describe(writer, model.config)
    _add_tokenizer(writer, tokenizer)
    for name, weight in tensors(model):
        matrix = weight.ndim == 2
        kind = GGMLType.Q8_0 if matrix else GGMLType.F32
        writer.add_tensor(name, weight.shape, kind, quantize(weight, kind) if matrix else weight)
    writer.write(path)


def _describe(writer: GGUFWriter, config: LlamaConfig) -> None:
    metadata: dict[str, str | int | float] = {
        "general.type": "model",
        "general.name": "cria",
        "general.basename": "cria",
        "general.organization": "Puna",
        "general.description": "Explains Puna, chats a little, calls tools and fills in JSON, in English and Chinese",
        "general.license": "apache-2.0",
        "general.size_label": "4.5M",
        "general.file_type": MOSTLY_Q8_0,
        "general.quantization_version": 2,
        "llama.vocab_size": config.vocab_size,
        "llama.context_length": config.context_length,
        "llama.embedding_length": config.embedding_length,
        "llama.block_count": config.block_count,
        "llama.feed_forward_length": config.feed_forward_length,
        "llama.attention.head_count": config.head_count,
        "llama.attention.head_count_kv": config.head_count,
        "llama.attention.layer_norm_rms_epsilon": config.rms_epsilon,
        "llama.rope.dimension_count": config.head_length,
        "llama.rope.freq_base": config.rope_freq_base,
    }
    for key, value in metadata.items():
        writer.add(key, value)
    writer.add("general.languages", ["en", "zh"])


def _add_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer) -> None:
    model = json.loads(tokenizer.to_str())["model"]
    ids: dict[str, int] = dict(sorted(model["vocab"].items(), key=lambda entry: entry[1]))
    writer.add("tokenizer.ggml.model", "gpt2")
    writer.add("tokenizer.ggml.pre", "qwen2")
    writer.add("tokenizer.ggml.tokens", list(ids))
    writer.add("tokenizer.ggml.token_type", [_token_type(token) for token in ids])
    writer.add("tokenizer.ggml.merges", [m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    writer.add("tokenizer.ggml.bos_token_id", ids["<|endoftext|>"])
    writer.add("tokenizer.ggml.eos_token_id", ids["<|im_end|>"])
    writer.add("tokenizer.ggml.padding_token_id", ids["<|endoftext|>"])
    writer.add("tokenizer.ggml.add_bos_token", False)
    writer.add("tokenizer.chat_template", CHAT_TEMPLATE)


def _token_type(token: str) -> int:
    """The tool marks are shown to users, so they are not control tokens."""
    if token not in SPECIAL:
        return NORMAL
    return USER_DEFINED if "tool" in token else CONTROL


def tensors(model: Llama) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The weights under GGUF's names; the output matrix is the embeddings', so it has no entry of its own."""
    yield "token_embd.weight", _array(model.embed.weight)
    yield "output_norm.weight", _array(model.norm.weight)
    for i, block in enumerate(model.blocks):
        q, k, v = np.split(_array(block.qkv.weight), 3)
        gate, up = np.split(_array(block.gate_up.weight), 2)
        heads = model.config.head_count
        parts = {
            "attn_norm": _array(block.attn_norm.weight),
            "attn_q": interleaved(q, heads),
            "attn_k": interleaved(k, heads),
            "attn_v": v,
            "attn_output": _array(block.attn_output.weight),
            "ffn_norm": _array(block.ffn_norm.weight),
            "ffn_gate": gate,
            "ffn_up": up,
            "ffn_down": _array(block.down.weight),
        }
        for name, weight in parts.items():
            yield f"blk.{i}.{name}.weight", np.ascontiguousarray(weight)


def interleaved(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of q or k from two halves per head to rotary pairs side by side, as GGUF's llama has them."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _array(weight: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = weight.detach().numpy().astype(np.float32)
    return array
