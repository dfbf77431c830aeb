"""Makes a GGUF with random weights in a real model's shape, for benchmarks: speed does not depend on the weights.

    python bench/make_model.py OUT.gguf --shape llama-1.1b --type Q4_0

Values are small, so that activations stay in range; the tokenizer is a byte alphabet and placeholders, enough for
any engine to load the file.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from puna.gguf import GGMLType, GGUFWriter, Value, quantize


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's dimensions."""

    architecture: str
    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    vocabulary: int


SHAPES = {
    "qwen2-0.5b": Shape("qwen2", 24, 896, 4864, 14, 2, 151936),
    "llama-1.1b": Shape("llama", 22, 2048, 5632, 32, 4, 32000),  # TinyLlama
    "llama-3b": Shape("llama", 28, 3072, 8192, 24, 8, 128256),  # Llama 3.2 3B
    "llama-8b": Shape("llama", 32, 4096, 14336, 32, 8, 128256),  # Llama 3.1 8B
}
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "BF16": 32}


def random_matrix(rng: np.random.Generator, rows: int, columns: int, kind: GGMLType) -> NDArray[np.uint8]:
    """Quantised normal values; a pool of rows is repeated, since making gigabytes of them is slow."""
    pool = rng.standard_normal((min(rows, 64), columns), np.float32) / np.sqrt(columns, dtype=np.float32)
    packed = quantize(pool, kind).reshape(len(pool), -1)
    return packed[rng.integers(0, len(pool), rows)].reshape(-1)


def tensors(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor's name and shape."""
    head = shape.width // shape.heads
    kv = shape.kv_heads * head
    out: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (shape.vocabulary, shape.width),
        "output_norm.weight": (shape.width,),
        "output.weight": (shape.vocabulary, shape.width),
    }
    for i in range(shape.layers):
        layer: dict[str, tuple[int, ...]] = {
            "attn_norm.weight": (shape.width,),
            "attn_q.weight": (shape.width, shape.width),
            "attn_k.weight": (kv, shape.width),
            "attn_v.weight": (kv, shape.width),
            "attn_output.weight": (shape.width, shape.width),
            "ffn_norm.weight": (shape.width,),
            "ffn_gate.weight": (shape.hidden, shape.width),
            "ffn_up.weight": (shape.hidden, shape.width),
            "ffn_down.weight": (shape.width, shape.hidden),
        }
        if shape.architecture == "qwen2":
            layer |= {"attn_q.bias": (shape.width,), "attn_k.bias": (kv,), "attn_v.bias": (kv,)}
        out |= {f"blk.{i}.{name}": dims for name, dims in layer.items()}
    if shape.architecture == "qwen2":
        del out["output.weight"]  # tied
    return out


def metadata(shape: Shape, kind: GGMLType) -> dict[str, Value | np.generic]:
    """The file's metadata; the vocabulary is 256 bytes and placeholders."""
    a = shape.architecture
    byte_pieces = [f"<0x{b:02X}>" for b in range(256)]
    pieces = ["<unk>", "<s>", "</s>", *byte_pieces]
    pieces += [f"w{i}" for i in range(shape.vocabulary - len(pieces))]
    return {
        "general.name": f"random {shape.width} x {shape.layers}",
        "general.file_type": np.uint32(FILE_TYPES[kind.name]),
        f"{a}.context_length": np.uint32(32768),
        f"{a}.embedding_length": np.uint32(shape.width),
        f"{a}.block_count": np.uint32(shape.layers),
        f"{a}.feed_forward_length": np.uint32(shape.hidden),
        f"{a}.attention.head_count": np.uint32(shape.heads),
        f"{a}.attention.head_count_kv": np.uint32(shape.kv_heads),
        f"{a}.attention.layer_norm_rms_epsilon": np.float32(1e-5),
        f"{a}.rope.freq_base": np.float32(10000.0),
        f"{a}.vocab_size": np.uint32(shape.vocabulary),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": np.zeros(len(pieces), np.float32),
        "tokenizer.ggml.token_type": np.array([2, 3, 3] + [6] * 256 + [1] * (len(pieces) - 259), np.int32),
        "tokenizer.ggml.bos_token_id": np.uint32(1),
        "tokenizer.ggml.eos_token_id": np.uint32(2),
    }


def write(path: Path, shape: Shape, kind: GGMLType, seed: int = 0) -> None:
    """Write the file."""
    rng = np.random.default_rng(seed)
    writer = GGUFWriter(shape.architecture)
    for key, value in metadata(shape, kind).items():
        writer.add(key, value)
    for name, dims in tensors(shape).items():
        if len(dims) == 1:
            values = np.ones(dims, np.float32) if "norm" in name else np.zeros(dims, np.float32)
            writer.add_tensor(name, dims, GGMLType.F32, values)
        else:
            writer.add_tensor(name, dims, kind, partial(random_matrix, rng, dims[0], dims[1], kind))
    writer.write(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="llama-1.1b")
    parser.add_argument("--type", choices=FILE_TYPES, default="Q4_0")
    arguments = parser.parse_args()
    write(arguments.out, SHAPES[arguments.shape], GGMLType[arguments.type])


if __name__ == "__main__":
    main()
