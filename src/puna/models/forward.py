"""The vocabulary that an architecture is written in: each call records kernels on the tape of a forward pass.

Activations are float32 rows, one for each token of a step (or for each token whose logits are wanted). Results
of the same name share one buffer, since layers run one after another. Knows no architecture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puna.gguf import ModelConfig
from puna.kernels import KernelLibrary, Tape
from puna.kernels.attention_sizes import scratch_bytes
from puna.kernels.tape import Argument
from puna.kernels.tiling import EXTRA_BLOCK, PANEL_BLOCK
from puna.models.kv_cache import BLOCK_SIZE, KVCache
from puna.models.memory import padded, zeros
from puna.models.rope import RopeTable
from puna.models.weights import Matrix


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows a step has: `count` holds the number while a tape runs, `capacity` is the most."""

    count: NDArray[np.int64]
    capacity: int


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """`width` float32 in each row, rows padded to a multiple of 16 that are zero."""

    data: NDArray[np.float32]
    width: int
    rows: Rows

    @property
    def stride(self) -> int:
        """Bytes from row to row."""
        return int(self.data.strides[0])


class Step:
    """What a step sets before the tape runs."""

    def __init__(self, max_tokens: int, max_outputs: int, max_chunks: int) -> None:
        self.tokens = Rows(zeros((1,), np.int64), max_tokens)
        self.outputs = Rows(zeros((1,), np.int64), max_outputs)
        self.output_rows: NDArray[np.int64] = zeros((max_outputs,), np.int64)
        self.positions: NDArray[np.int64] = zeros((max_tokens,), np.int64)
        self.tables: NDArray[np.int64] = zeros((max_tokens,), np.int64)  # the address of each row's block table
        self.segments: NDArray[np.int64] = zeros((max_chunks, 4), np.int64)
        self.segment_count: NDArray[np.int64] = zeros((1,), np.int64)


class Forward:
    """Records a forward pass."""

    def __init__(
        self, config: ModelConfig, library: KernelLibrary, step: Step, rope: RopeTable, kv_cache: KVCache, *,
        threads: int,
    ) -> None:  # fmt: skip
        self.tape = Tape(library)
        self.step = step
        self._config, self._rope, self._kv_cache, self._threads = config, rope, kv_cache, threads
        self._buffers: dict[tuple[str, int, int], NDArray[Any]] = {}
        self._quantized: dict[tuple[int, int], Activation] = {}
        self.input = self._activation("x", config.embedding_length, step.tokens)
        self.logits: Activation | None = None

    def _buffer(self, name: str, rows: int, width: int, dtype: Any = np.float32) -> NDArray[Any]:
        key = (name, rows, width)
        if key not in self._buffers:
            self._buffers[key] = zeros((rows, width), dtype)
        return self._buffers[key]

    def _activation(self, name: str, width: int, rows: Rows) -> Activation:
        return Activation(self._buffer(name, rows.capacity, padded(width)), width, rows)

    def rms_norm(self, x: Activation, weight: NDArray[np.float32], name: str = "norm") -> Activation:
        """Each row divided by its root mean square, times the weight."""
        out = self._activation(name, x.width, x.rows)
        epsilon = self._config.layer_norm_rms_epsilon
        self.tape.record(
            "rms_norm",
            {
                "x": x.data, "weight": weight, "out": out.data, "width": x.width, "padded": padded(x.width),
                "rows": x.rows.count, "epsilon": epsilon,
            },
        )  # fmt: skip
        return out

    def _quantize(self, x: Activation) -> NDArray[np.uint8]:
        rows, width = x.rows.capacity, x.width
        panels = self._buffer("panels", rows, width // 32 * (PANEL_BLOCK + EXTRA_BLOCK), np.uint8)
        if self._quantized.get((rows, width)) is not x:
            self._quantized[rows, width] = x
            self.tape.record("quantize", {"x": x.data, "panels": panels, "width": width, "rows": x.rows.count})
        return panels

    def linear(
        self, x: Activation, matrix: Matrix, name: str, *, bias: NDArray[np.float32] | None = None
    ) -> Activation:
        """W x (+ bias)."""
        out = self._activation(name, matrix.rows, x.rows)
        self._matmul(x, matrix, out, accumulate=False)
        self._add_bias(out, bias)
        return out

    def linear_add(
        self, x: Activation, matrix: Matrix, to: Activation, *, bias: NDArray[np.float32] | None = None
    ) -> None:
        """to += W x (+ bias): a residual connection."""
        self._matmul(x, matrix, to, accumulate=True)
        self._add_bias(to, bias)

    def _add_bias(self, x: Activation, bias: NDArray[np.float32] | None) -> None:
        if bias is not None:
            self.tape.record("add_bias", {"x": x.data, "bias": bias, "width": padded(x.width), "rows": x.rows.count})

    def _matmul(self, x: Activation, matrix: Matrix, out: Activation, *, accumulate: bool) -> None:
        common: dict[str, Argument] = {
            "y_stride": out.stride,
            "tokens": x.rows.count,
            "accumulate": int(accumulate),
        }
        self._quantized = {key: held for key, held in self._quantized.items() if held.data is not out.data}
        if matrix.layout.quantized:
            panels = self._quantize(x)
            shape: dict[str, Argument] = {"groups": matrix.groups, "blocks": matrix.blocks}
            self.tape.record(
                matrix.layout.matmul, {"w": matrix.data, "panels": panels, "y": out.data, **shape, **common}
            )
            return
        self.tape.record(
            matrix.layout.matmul,
            {
                "w": matrix.data, "x": x.data, "y": out.data, "groups": matrix.groups, "columns": matrix.columns,
                "x_stride": x.stride, **common,
            },
        )  # fmt: skip

    def rope(self, x: Activation, heads: int) -> None:
        """Rotate each head by its row's position, in place; pairs are (i, i + half)."""
        self.tape.record(
            "rope",
            {
                "x": x.data, "cos_sin": self._rope.cos_sin, "positions": self.step.positions, "heads": heads,
                "size": self._config.key_length, "stride": x.stride, "rotated": self._config.rope.dimension_count,
                "rows": x.rows.count,
            },
        )  # fmt: skip

    def attention(
        self, q: Activation, k: Activation, v: Activation, *, scale: float | None = None, window: int | None = None,
        softcap: float = 0.0,
    ) -> Activation:  # fmt: skip
        """Store k and v in a new layer's cache, then causal attention of every row to its own sequence.

        scale: of q k, by default 1 / sqrt(key length); window: how many positions a row sees, itself included, None
        for all; softcap: scores become softcap tanh(score / softcap), 0 for as they are.
        """
        c, step, cache = self._config, self.step, self._kv_cache
        key, value, heads = c.key_length, c.value_length, c.head_count_kv
        pool = cache.add_layer(heads, key, value)
        self.tape.record(
            f"store_kv_{cache.kv_type}",
            {
                "k": k.data, "v": v.data, "pool": pool, "positions": step.positions, "tables": step.tables,
                "heads": heads, "key": key, "value": value, "k_stride": k.stride, "v_stride": v.stride,
                "rows": step.tokens.count,
            },
        )  # fmt: skip
        out = self._activation("attention", c.head_count * value, q.rows)
        size = scratch_bytes(c.head_count // heads, key, value, cache.num_blocks * BLOCK_SIZE)
        scratch = self._buffer("scratch", self._threads, size, np.uint8)
        sizes: dict[str, Argument] = {"q_heads": c.head_count, "heads": heads, "key": key, "value": value}
        memory: dict[str, Argument] = {"segments": step.segments, "scratch": scratch, "scratch_bytes": size}
        last: dict[str, Argument] = {"window": window or 0, "count": step.segment_count}
        self.tape.record(
            f"attention_{cache.kv_type}",
            {
                "q": q.data, "out": out.data, "pool": pool, **memory, **sizes, "q_stride": q.stride,
                "out_stride": out.stride, "scale": 1.0 / math.sqrt(key) if scale is None else scale,
                "softcap": softcap, **last,
            },
        )  # fmt: skip
        if self._threads > 1:  # threads have divided the work
            self.tape.record("merge_attention", {"out": out.data, **memory, **sizes, "out_stride": out.stride, **last})
        return out

    def silu_gate(self, gate: Activation, up: Activation) -> Activation:
        """silu(gate) * up, in gate's buffer."""
        out = Activation(gate.data, gate.width, gate.rows)
        self.tape.record(
            "silu_gate",
            {
                "gate": gate.data, "up": up.data, "out": out.data, "width": padded(gate.width),
                "rows": gate.rows.count,
            },
        )  # fmt: skip
        return out

    def output_rows(self, x: Activation, name: str) -> Activation:
        """The rows whose logits are wanted."""
        out = self._activation(name, x.width, self.step.outputs)
        self.tape.record(
            "gather_rows",
            {
                "x": x.data, "indices": self.step.output_rows, "out": out.data, "width": padded(x.width),
                "rows": self.step.outputs.count,
            },
        )  # fmt: skip
        return out
