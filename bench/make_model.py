"""GGUF files with random weights in real models' shapes: speed does not depend on what the weights are.

Blocks are random bytes with scales that keep activations in range, which takes seconds. The layers add little to
the embeddings, and each output row is another token's embedding: greedy decoding walks in a circle of PASSAGE tokens,
so that a passage can be repeated token by token (`successor`).

The vocabulary is the 256 bytes, which is what text becomes, and placeholders: any engine loads the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from puna.gguf import GGMLType, GGUFWriter, Value, dequantize

PASSAGE = 300  # tokens after which greedy decoding begins again
SPECIAL = ("<s>", "</s>")  # the last two token ids
EMBEDDING = 0.5  # the embeddings' standard deviation
RESIDUAL = 0.05  # what a matrix that adds to them multiplies a row's size with, and theirs
OUTPUT_NORM = 0.04  # so that the likeliest logit is some 40 above the others

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


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
    experts: int = 0  # each `hidden` wide; 0: one feed-forward network
    experts_used: int = 0


SHAPES = {
    "tiny": Shape("llama", 2, 256, 512, 4, 2, 1024),
    "tiny-moe": Shape("qwen3moe", 2, 256, 256, 4, 2, 1024, 8, 2),
    "qwen2-0.5b": Shape("qwen2", 24, 896, 4864, 14, 2, 151936),
    "llama-1.1b": Shape("llama", 22, 2048, 5632, 32, 4, 32000),  # TinyLlama
    "llama-3b": Shape("llama", 28, 3072, 8192, 24, 8, 128256),  # Llama 3.2 3B
    "qwen3moe-2b": Shape("qwen3moe", 12, 2048, 768, 16, 4, 32000, 32, 4),  # Qwen3-30B-A3B, but fewer layers and experts
    "llama-8b": Shape("llama", 32, 4096, 14336, 32, 8, 128256),  # Llama 3.1 8B
}

# llama.h's llama_ftype for each mix of tensor types that can be made.
FILE_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q4_K_M": 15, "Q5_K": 16,
    "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "BF16": 32, "MXFP4": 38,
}  # fmt: skip

# Where a block has its float16 scales (ggml-common.h), and how many times the first one they are: what a block's
# numbers are on average, so that its values have no mean.
SCALES: dict[GGMLType, dict[int, float]] = {
    GGMLType.Q4_0: {0: 1}, GGMLType.Q4_1: {0: 1, 2: -7.5}, GGMLType.Q5_0: {0: 1}, GGMLType.Q5_1: {0: 1, 2: -15.5},
    GGMLType.Q8_0: {0: 1}, GGMLType.Q2_K: {80: 1, 82: 1.5}, GGMLType.Q4_K: {0: 1, 2: 7.5},
    GGMLType.Q5_K: {0: 1, 2: 15.5}, GGMLType.Q6_K: {208: 1}, GGMLType.IQ4_NL: {0: 1}, GGMLType.IQ4_XS: {0: 1},
}  # fmt: skip

# Scales of a block's parts, packed in six or four bits: all alike here.
PARTS: dict[GGMLType, tuple[int, bytes]] = {
    GGMLType.Q2_K: (0, b"\x88" * 16),
    GGMLType.Q4_K: (4, b"\xa0" * 8 + b"\0" * 4),
    GGMLType.Q5_K: (4, b"\xa0" * 8 + b"\0" * 4),
}

FLOATS = {GGMLType.F32: (8, 23), GGMLType.F16: (5, 10), GGMLType.BF16: (8, 7)}  # bits of exponent and mantissa

# What llama-quantize takes for rows that are not whole blocks of 256.
SMALL_BLOCKS = {
    GGMLType.Q2_K: GGMLType.IQ4_NL,
    GGMLType.Q4_K: GGMLType.Q5_0,
    GGMLType.Q5_K: GGMLType.Q5_1,
    GGMLType.Q6_K: GGMLType.Q8_0,
    GGMLType.IQ4_XS: GGMLType.IQ4_NL,
}


def successor(token: int) -> int:
    """The token that greedy decoding gives after `token`, in models with an output matrix of their own."""
    return token + 1 if (token + 1) % PASSAGE else token + 1 - PASSAGE


def passage(number: int = 1) -> list[int]:
    """Tokens that greedy decoding repeats for ever; 1 and up are placeholders, without bytes among them."""
    return list(range(number * PASSAGE, (number + 1) * PASSAGE))


def _blocks(rng: np.random.Generator, count: int, kind: GGMLType, deviation: float) -> NDArray[np.uint8]:
    """(count, type_size) random blocks of about that standard deviation and no mean."""
    words = rng.integers(0, 2**64, -(-count * kind.type_size // 8), np.uint64, endpoint=False)
    blocks = words.view(np.uint8)[: count * kind.type_size].reshape(count, -1)
    if kind in FLOATS:
        return _floats(blocks, kind, deviation)
    if kind is GGMLType.MXFP4:  # one byte of exponent; four random bits have a deviation of 3
        blocks[:, 0] = 128 + int(np.floor(np.log2(deviation / 3)))
        return blocks
    offset, parts = PARTS.get(kind, (0, b""))
    blocks[:, offset : offset + len(parts)] = np.frombuffer(parts, np.uint8)
    sign = np.where(
        blocks[:, next(iter(SCALES[kind]))] & 1, -1.0, 1.0
    )  # four bits reach from -8 to 7: not quite no mean
    _set_scales(blocks, kind, sign)
    sample = blocks[:4096]
    unit = float(dequantize(sample.reshape(-1), kind, (sample.shape[0] * kind.block_size,)).std())
    _set_scales(blocks, kind, sign * (deviation / unit))
    return blocks


def _set_scales(blocks: NDArray[np.uint8], kind: GGMLType, scales: NDArray[np.float64]) -> None:
    for offset, times in SCALES[kind].items():
        blocks[:, offset : offset + 2] = (scales * times).astype("<f2").view(np.uint8).reshape(-1, 2)


def _floats(blocks: NDArray[np.uint8], kind: GGMLType, deviation: float) -> NDArray[np.uint8]:
    """Random signs and mantissas under the one exponent that fits."""
    exponent_bits, mantissa_bits = FLOATS[kind]
    bias = (1 << exponent_bits - 1) - 1
    exponent = max(1, int(np.floor(np.log2(deviation))) + bias)
    bits = 8 * kind.type_size
    keep, fixed = (1 << bits) - 1 ^ ((1 << exponent_bits) - 1 << mantissa_bits), exponent << mantissa_bits
    for byte in range(kind.type_size):  # little-endian, as GGUF is
        blocks[:, byte] = blocks[:, byte] & (keep >> 8 * byte & 255) | (fixed >> 8 * byte & 255)
    return blocks


def _matrix(seed: int, rows: int, columns: int, kind: GGMLType, deviation: float) -> NDArray[np.uint8]:
    """(rows, bytes of a row)."""
    blocks = _blocks(np.random.default_rng(seed), rows * columns // kind.block_size, kind, deviation)
    return blocks.reshape(rows, blocks.size // rows)


def _output(seed: int, rows: int, columns: int, kind: GGMLType, deviation: float) -> NDArray[np.uint8]:
    """The embeddings, each moved to the row of its token's successor."""
    embeddings: NDArray[np.uint8] = _matrix(seed, rows, columns, kind, deviation)
    whole = rows // PASSAGE * PASSAGE  # what is left over follows itself
    order: NDArray[np.intp] = np.arange(rows)
    order[:whole] = np.roll(order[:whole].reshape(-1, PASSAGE), 1, axis=1).reshape(-1)
    return embeddings[order]


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
            **_feed_forward(shape),
        }
        if shape.architecture == "qwen3moe":
            layer |= dict.fromkeys(("attn_q_norm.weight", "attn_k_norm.weight"), (head,))
        if shape.architecture == "qwen2":
            layer |= {"attn_q.bias": (shape.width,), "attn_k.bias": (kv,), "attn_v.bias": (kv,)}
        out |= {f"blk.{i}.{name}": dims for name, dims in layer.items()}
    if shape.architecture == "qwen2":
        del out["output.weight"]  # tied
    return out


def _feed_forward(shape: Shape) -> dict[str, tuple[int, ...]]:
    rows, columns = (shape.hidden, shape.width), (shape.width, shape.hidden)
    if not shape.experts:
        return {"ffn_gate.weight": rows, "ffn_up.weight": rows, "ffn_down.weight": columns}
    made: dict[str, tuple[int, ...]] = {"ffn_gate_inp.weight": (shape.experts, shape.width)}
    made |= {f"ffn_{part}_exps.weight": (shape.experts, *rows) for part in ("gate", "up")}
    return made | {"ffn_down_exps.weight": (shape.experts, *columns)}


def tensor_type(name: str, file_type: str, shape: Shape, columns: int) -> GGMLType:
    """The type of a matrix; Q4_K_M mixes as llama-quantize does, all others are of one type.

    The embeddings are of the output's type, whose rows they are.
    """
    if "ffn_gate_inp" in name:
        return GGMLType.F32
    kind = GGMLType[file_type.removesuffix("_M")]
    if file_type == "Q4_K_M":
        is_output = name in ("token_embd.weight", "output.weight")
        important = name.endswith(("attn_v.weight", "ffn_down.weight", "ffn_down_exps.weight")) and _more_bits(
            name, shape.layers
        )
        kind = GGMLType.Q6_K if is_output or important else kind
    return SMALL_BLOCKS[kind] if columns % kind.block_size else kind


def _more_bits(name: str, layers: int) -> bool:
    """llama-quantize's choice: the first and the last eighth of the layers, and every third between."""
    i, eighth = int(name.split(".")[1]), layers // 8
    return i < eighth or i >= 7 * layers // 8 or (i - eighth) % 3 == 2


def metadata(shape: Shape, file_type: str) -> dict[str, Value | np.generic]:
    """The file's metadata."""
    a = shape.architecture
    pieces = [*_byte_pieces(), "\u0120\u0120"]  # the one merge that a BPE vocabulary must have
    pieces += [f"w{i}" for i in range(len(pieces), shape.vocabulary - len(SPECIAL))] + list(SPECIAL)
    experts = {"expert_count": shape.experts, "expert_used_count": shape.experts_used}
    experts |= {"expert_feed_forward_length": shape.hidden} if shape.experts else {}
    return {
        **{f"{a}.{key}": np.uint32(value) for key, value in experts.items() if value},
        "general.name": f"random {a} {shape.width} x {shape.layers}",
        "general.file_type": np.uint32(FILE_TYPES[file_type]),
        f"{a}.context_length": np.uint32(32768),
        f"{a}.embedding_length": np.uint32(shape.width),
        f"{a}.block_count": np.uint32(shape.layers),
        f"{a}.feed_forward_length": np.uint32(shape.hidden),
        f"{a}.attention.head_count": np.uint32(shape.heads),
        f"{a}.attention.head_count_kv": np.uint32(shape.kv_heads),
        f"{a}.attention.layer_norm_rms_epsilon": np.float32(1e-5),
        f"{a}.rope.freq_base": np.float32(10000.0),
        f"{a}.rope.dimension_count": np.uint32(shape.width // shape.heads),
        f"{a}.vocab_size": np.uint32(shape.vocabulary),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2" if a.startswith("qwen") else "llama-bpe",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.merges": ["\u0120 \u0120"],
        "tokenizer.ggml.token_type": np.array([1] * (len(pieces) - len(SPECIAL)) + [3] * len(SPECIAL), np.int32),
        "tokenizer.ggml.bos_token_id": np.uint32(shape.vocabulary - 2),
        "tokenizer.ggml.eos_token_id": np.uint32(shape.vocabulary - 1),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def _byte_pieces() -> list[str]:
    """GPT-2's character for each byte: printable ones first, as they are, then the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(b) for b in printable] + [chr(0x100 + i) for i in range(256 - len(printable))]


def write(path: Path, shape: Shape, file_type: str) -> None:
    """Write the file."""
    writer = GGUFWriter(shape.architecture)
    for key, value in metadata(shape, file_type).items():
        writer.add(key, value)
    for seed, (name, dims) in enumerate(tensors(shape).items()):
        if len(dims) == 1:
            value = OUTPUT_NORM if name == "output_norm.weight" else float("norm" in name)
            values = np.full(dims, value, np.float32)
            writer.add_tensor(name, dims, GGMLType.F32, values)
            continue
        rows, columns = prod(dims[:-1]), dims[-1]
        kind = tensor_type(name, file_type, shape, columns)
        make, at, deviation = _matrix, seed, columns**-0.5
        if name in ("token_embd.weight", "output.weight"):
            make, at, deviation = _matrix if name.startswith("token") else _output, 0, EMBEDDING
        elif name.endswith(("attn_output.weight", "ffn_down.weight", "ffn_down_exps.weight")):
            deviation *= EMBEDDING * RESIDUAL
        writer.add_tensor(name, dims, kind, partial(make, at, rows, columns, kind, deviation))
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write(path)


def model_path(folder: Path, shape: str, file_type: str) -> Path:
    """Where the model of that shape and type is, or would be."""
    return folder / f"{shape}-{file_type}.gguf"
