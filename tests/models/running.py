"""Running a model file on `puna.models` as simply as can be: one sequence, logits of chosen positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puna import models
from puna.gguf import GGMLType, GGUFWriter, ModelFile, dequantize, open_model
from puna.models import Chunk, Model
from tests.models.weight_types import fitting, stored

Logits = NDArray[np.float32]

VOCAB = 2048  # cria's, and the random llama's


@contextmanager
def loaded(path: Path, *, tokens: int = 256, threads: int = 1, **options: Any) -> Iterator[Model]:
    """A model with KV blocks for so many tokens, whose threads end with the block."""
    with open_model(path) as file:
        model = models.load(file, threads=threads, num_blocks=models.blocks_for(tokens), **options)
        try:
            yield model
        finally:
            model.close()


def logits(model: Model, tokens: Sequence[int], *, first: int = 0) -> Logits:
    """Logits (len(tokens) - first, vocab_size) after each token from `first` on, at most max_outputs in a step."""
    table = range(models.blocks_for(len(tokens)))
    if first:
        model.forward([Chunk(tokens[:first], 0, table, 0)])
    steps = range(first, len(tokens), model.max_outputs)
    chunks = [(tokens[i : i + model.max_outputs], i) for i in steps]
    return np.concatenate([model.forward([Chunk(part, i, table, len(part))]).copy() for part, i in chunks])


def write_gguf(
    path: Path, source: ModelFile, kind: GGMLType | None, *, metadata: Mapping[str, Any] | None = None,
    change: Callable[[dict[str, NDArray[np.float32]]], None] = lambda _: None,
    kind_of: Callable[[str], GGMLType] | None = None,
) -> Path:  # fmt: skip
    """`source` as a GGUF with its matrices in another type (None: as they are); `change` may alter its arrays.

    kind_of: the type of each matrix, by its name.
    """
    arrays = {name: dequantize(t.data, t.type, t.shape) for name, t in source.tensors.items()}
    change(arrays)
    writer = GGUFWriter()
    for key, value in (dict(source.metadata) | dict(metadata or {})).items():
        writer.add(key, value)
    for name, array in arrays.items():
        own = source.tensors[name].type if name in source.tensors else GGMLType.F32
        wanted = kind_of(name) if kind_of else own if kind is None else kind
        as_is = array.ndim < 2 or name.endswith(("ffn_gate_inp.weight", ".bias"))  # as llama.cpp's quantiser does
        chosen = GGMLType.F32 if as_is else fitting(wanted, array.shape[-1])
        writer.add_tensor(name, array.shape, chosen, stored(array, chosen))
    writer.write(path)
    return path


def placeholder_vocabulary(size: int = VOCAB) -> dict[str, Any]:
    """Tokens of whole letters: of one that is part of a character llama.cpp's server keeps the log-probability back."""
    tokens = [f"t{token}" for token in range(size)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.ones(size, np.int32),
        "tokenizer.ggml.merges": ["t 0"],
        "tokenizer.ggml.eos_token_id": 2,
    }


def write_random_llama(path: Path, kind: GGMLType, *, hidden: int = 256, feed: int = 512) -> Path:
    """Grouped queries, untied, another rope base than the usual; rows that every type can hold."""
    layers, head = 2, 64
    heads, kv_heads = hidden // head, hidden // head // 2
    writer = GGUFWriter("llama")
    sizes = {"context_length": 512, "embedding_length": hidden, "feed_forward_length": feed, "block_count": layers}
    sizes |= {"attention.head_count": heads, "attention.head_count_kv": kv_heads, "rope.dimension_count": head}
    for key, value in sizes.items():
        writer.add(f"llama.{key}", value)
    writer.add("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add("llama.rope.freq_base", 50000.0)
    for key, entry in placeholder_vocabulary().items():
        writer.add(key, entry)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("token_embd.weight", "output.weight"), (VOCAB, hidden))
    shapes["output_norm.weight"] = (hidden,)
    for layer in range(layers):
        parts = {"attn_q": (heads * head, hidden), "attn_k": (kv_heads * head, hidden)}
        parts |= {"attn_v": (kv_heads * head, hidden), "attn_output": (hidden, heads * head)}
        parts |= {"ffn_gate": (feed, hidden), "ffn_up": (feed, hidden), "ffn_down": (hidden, feed)}
        shapes |= {f"blk.{layer}.{part}.weight": shape for part, shape in parts.items()}
        shapes |= {f"blk.{layer}.{part}_norm.weight": (hidden,) for part in ("attn", "ffn")}
    random = np.random.default_rng(11)
    for name, shape in shapes.items():
        array = random.standard_normal(shape, np.float32) / np.sqrt(shape[-1]) if len(shape) == 2 else np.ones(shape)
        chosen = kind if len(shape) == 2 else GGMLType.F32
        writer.add_tensor(name, shape, chosen, stored(array.astype(np.float32), chosen))
    writer.write(path)
    return path
