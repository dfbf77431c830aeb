"""Tensors that GGUF has otherwise put together than transformers: experts in one stack, matrices of heads apart.

Rows are read when they are asked for, from wherever they lie. Knows no architecture's names but those of these parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF
from puna.gguf.huggingface.settings import Settings
from puna.gguf.model_file import Tensor

Bytes = NDArray[np.uint8]
Tensors = dict[str, Tensor]
Rearrange = Callable[[Tensors, Settings], Tensors]

EXPERT = re.compile(r"\.experts\.(\d{1,5})\.")


def stacked(name: str, experts: Mapping[int, Tensor], config: Settings) -> Tensor:
    """One tensor (experts, rows, columns) of those of each expert."""
    parts = [experts[index] for index in sorted(experts)]
    first = parts[0]
    if sorted(experts) != list(range(len(parts))) or len(first.shape) != 2:
        raise InvalidGGUF(f"{config.source}: of {name}, experts are missing: there are {sorted(experts)}")
    if any((part.shape, part.type) != (first.shape, first.type) for part in parts):
        raise InvalidGGUF(f"{config.source}: the experts of {name} are not alike")
    return Tensor(name, (len(parts), *first.shape), first.type, partial(_read_stack, [part.read for part in parts],
                                                                         first.shape[0]))  # fmt: skip


def _read_stack(reads: Sequence[Callable[[int, int], Bytes]], rows: int, first: int, last: int) -> Bytes:
    """Rows of one matrix after another, each of so many."""
    pieces = []
    for part in range(first // rows, -(-last // rows)):
        start = part * rows
        pieces.append(reads[part](max(first - start, 0), min(last - start, rows)))
    return _joined(pieces)


def _joined(pieces: list[Bytes]) -> Bytes:
    if len(pieces) == 1:
        return pieces[0]
    data = np.concatenate([piece.reshape(-1) for piece in pieces])
    data.flags.writeable = False
    return data


def split_latent(tensors: Tensors, config: Settings) -> Tensors:
    """attn_kv_b as attn_k_b, each head's matrix transposed, and attn_v_b."""
    made: Tensors = {}
    for name, tensor in tensors.items():
        if not name.endswith("attn_kv_b.weight"):
            made[name] = tensor
            continue
        heads, plain = config.integer("num_attention_heads"), config.integer("qk_nope_head_dim")
        size = plain + config.integer("v_head_dim")
        if tensor.shape[0] != heads * size or len(tensor.shape) != 2:
            raise InvalidGGUF(f"{config.source}: {name}: {tensor.shape} is not {heads} heads of {size}")
        keys = [partial(_transposed, tensor, head * size, plain) for head in range(heads)]
        values = [partial(_shifted, tensor.read, head * size + plain) for head in range(heads)]
        for part, reads, shape in (
            ("k", keys, (heads, tensor.shape[1], plain)),
            ("v", values, (heads, size - plain, tensor.shape[1])),
        ):
            new = name.replace("attn_kv_b", f"attn_{part}_b")
            made[new] = Tensor(new, shape, tensor.type, partial(_read_stack, reads, shape[1]))
    return made


def _shifted(read: Callable[[int, int], Bytes], start: int, first: int, last: int) -> Bytes:
    return read(start + first, start + last)


def _transposed(tensor: Tensor, start: int, rows: int, first: int, last: int) -> Bytes:
    """Columns `first` to `last` - 1 of so many rows, as rows."""
    size = tensor.type.type_size
    block = tensor.read(start, start + rows).reshape(rows, tensor.shape[1], size)
    return np.ascontiguousarray(block[:, first:last].swapaxes(0, 1)).reshape(-1)


def split_gates(tensors: Tensors, config: Settings) -> Tensors:
    """gpt-oss: experts stored (columns, rows), gates and ups in turn, as stacks of matrices; biases likewise."""
    made: Tensors = {}
    for name, tensor in tensors.items():
        if "_exps." not in name:
            made[name] = tensor
            continue
        if len(tensor.shape) != (2 if name.endswith("bias") else 3):
            raise InvalidGGUF(f"{config.source}: {name} has the shape {tensor.shape}")
        steps = {"gate": (0, 2), "up": (1, 2)} if "ffn_gate_up" in name else {"down": (0, 1)}
        for part, (start, step) in steps.items():
            new = re.sub("ffn_(gate_up|down)", f"ffn_{part}", name)
            made[new] = _every(new, tensor, start, step)
    return made


def _every(name: str, tensor: Tensor, start: int, step: int) -> Tensor:
    """Columns start, start + step, ... of a stack's matrices as rows; those of rows of biases as they are."""
    count, size = tensor.shape[0], tensor.type.type_size
    if len(tensor.shape) == 2:
        shape: tuple[int, ...] = (count, tensor.shape[1] // step)

        def biases(first: int, last: int) -> Bytes:
            rows = tensor.read(first, last).reshape(last - first, -1, size)
            return np.ascontiguousarray(rows[:, start::step]).reshape(-1)

        return Tensor(name, shape, tensor.type, biases)
    columns, rows = tensor.shape[1], tensor.shape[2] // step

    def matrix(part: int, first: int, last: int) -> Bytes:
        block = tensor.read(part * columns, (part + 1) * columns).reshape(columns, -1, size)
        chosen = block[:, start + first * step : start + last * step : step]
        return np.ascontiguousarray(chosen.swapaxes(0, 1)).reshape(-1)

    return Tensor(
        name,
        (count, rows, columns),
        tensor.type,
        partial(_read_stack, [partial(matrix, i) for i in range(count)], rows),
    )
