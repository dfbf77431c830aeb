"""The vocabulary that an architecture is written in: each call records kernels on the tape of a forward pass.

Activations are float32 rows, one for each token of a step (or for each token whose logits are wanted). Results
of the same name share one buffer, since layers run one after another. Knows no architecture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna.errors import UnsupportedModel
from puna.gguf import ModelConfig, RopeConfig
from puna.kernels import KernelLibrary, Tape
from puna.kernels.attention_sizes import scratch_bytes
from puna.kernels.tape import Argument
from puna.kernels.tiling import EXTRA_BLOCK, PANEL_BLOCK
from puna.models.kv_cache import BLOCK_SIZE, KVCache
from puna.models.memory import padded, zeros
from puna.models.rope import RopeTable
from puna.models.weights import Matrix

ActivationFunction: TypeAlias = Literal["silu", "gelu", "gelu_tanh", "gelu_quick", "clamped_silu"]

# By matrix: the sums, over all rows that it was multiplied with, of the squares in each of its columns (padded).
Squares: TypeAlias = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of a step, of which each part is multiplied by a matrix of its own; most are one part.

    While a tape runs, `bounds` holds the first row of each part, then the number of rows; `capacity` is the most.
    """

    bounds: NDArray[np.int64]
    capacity: int

    @classmethod
    def one_part(cls, capacity: int) -> Rows:
        """Rows that are all multiplied by the same matrices."""
        return cls(zeros((2,), np.int64), capacity)

    @property
    def count(self) -> NDArray[np.int64]:
        """How many there are, in an array of one."""
        return self.bounds[-1:]

    @property
    def parts(self) -> int:
        """How many parts."""
        return len(self.bounds) - 1


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
        self.tokens = Rows.one_part(max_tokens)
        self.outputs = Rows.one_part(max_outputs)  # those whose logits are wanted, ...
        self.kept = Rows.one_part(max(max_tokens, max_outputs))  # ... then those whose states are
        self.kept_rows: NDArray[np.int64] = zeros((self.kept.capacity,), np.int64)
        self.adapters: NDArray[np.int64] = zeros((max_tokens,), np.int64)  # of each token: 0 for none
        self.kept_adapters: NDArray[np.int64] = zeros((self.kept.capacity,), np.int64)
        self.positions: NDArray[np.int64] = zeros((max_tokens,), np.int64)
        self.token_types: NDArray[np.int64] = zeros((max_tokens,), np.int64)  # 1 for the second text of a pair
        self.tables: NDArray[np.int64] = zeros((max_tokens,), np.int64)  # the address of each row's block table
        self.segments: NDArray[np.int64] = zeros((max_chunks, 4), np.int64)
        self.segment_count: NDArray[np.int64] = zeros((1,), np.int64)


class Forward:
    """Records a forward pass."""

    def __init__(
        self, config: ModelConfig, library: KernelLibrary, step: Step, rope: RopeTable, kv_cache: KVCache, *,
        threads: int, squares: Squares | None = None,
    ) -> None:  # fmt: skip
        self.tape = Tape(library)
        self.step = step
        self._config, self._kv_cache, self._threads = config, kv_cache, threads
        self.rope_tables = [rope]
        self.windowed = False  # whether some layer has a window
        self._squares = squares
        self._buffers: dict[tuple[str, int, int], NDArray[Any]] = {}
        self._quantized: dict[tuple[int, int], Activation] = {}
        self.by_adapter: dict[Rows, Any] = {}  # how rows are put together for their adapters
        self._no_sinks = np.full(config.head_count, -1e30, np.float32)
        self.input = self.activation("x", config.embedding_length, step.tokens)
        self.max_positions: int | None = None  # where positions have learned embeddings
        self.has_token_types = False  # the second text of a pair is told from the first
        self.states: Activation | None = None  # of the kept rows, after the last norm
        self.logits: Activation | None = None

    def buffer(self, name: str, rows: int, width: int, dtype: Any = np.float32) -> NDArray[Any]:
        """Zeros, shared by all that ask for a buffer of that name and size."""
        key = (name, rows, width)
        if key not in self._buffers:
            self._buffers[key] = zeros((rows, width), dtype)
        return self._buffers[key]

    def activation(self, name: str, width: int, rows: Rows) -> Activation:
        """A result that is to be written, in the buffer of that name."""
        return Activation(self.buffer(name, rows.capacity, padded(width)), width, rows)

    def rms_norm(self, x: Activation, weight: NDArray[np.float32], name: str = "norm") -> Activation:
        """Each row divided by its root mean square, times the weight."""
        out = self.activation(name, x.width, x.rows)
        self._normalize("rms_norm", x, {"weight": weight}, out)
        return out

    def layer_norm(
        self, x: Activation, weight: NDArray[np.float32], bias: NDArray[np.float32] | None, name: str = "norm"
    ) -> Activation:
        """Each row less its mean, divided by its standard deviation, times the weight (+ bias)."""
        out = self.activation(name, x.width, x.rows)
        self._normalize("layer_norm", x, {"weight": weight, "bias": self._or_zeros(bias, x)}, out)
        return out

    def rms_norm_heads(self, x: Activation, weight: NDArray[np.float32], heads: int) -> None:
        """RMSNorm of each of a row's `heads` equal parts, in place; the weight has the length of a row."""
        self._normalize("rms_norm", x, {"weight": weight}, x, heads)

    def layer_norm_heads(
        self, x: Activation, weight: NDArray[np.float32], bias: NDArray[np.float32] | None, heads: int
    ) -> None:
        """LayerNorm of each of a row's `heads` equal parts, in place; weight and bias have the length of a row."""
        self._normalize("layer_norm", x, {"weight": weight, "bias": self._or_zeros(bias, x)}, x, heads)

    def _or_zeros(self, bias: NDArray[np.float32] | None, x: Activation) -> NDArray[Any]:
        return self.buffer("zeros", 1, padded(x.width)) if bias is None else bias

    def _normalize(
        self, kernel: str, x: Activation, weights: dict[str, Argument], out: Activation, parts: int = 1
    ) -> None:
        self.changed(out)
        self.tape.record(
            kernel,
            {
                "x": x.data, **weights, "out": out.data, "width": x.width // parts, "padded": padded(x.width) // parts,
                "parts": parts, "rows": x.rows.count, "epsilon": self._config.norm_epsilon,
            },
        )  # fmt: skip

    def changed(self, x: Activation) -> None:
        """What was quantised of it is out of date."""
        self._quantized = {key: held for key, held in self._quantized.items() if held.data is not x.data}

    def _quantize(self, x: Activation) -> NDArray[np.uint8]:
        rows, width = x.rows.capacity, x.width
        panels = self.buffer("panels", rows, width // 32 * (PANEL_BLOCK + EXTRA_BLOCK), np.uint8)
        if self._quantized.get((rows, width)) is not x:
            self._quantized[rows, width] = x
            self.tape.record(
                "quantize",
                {"x": x.data, "panels": panels, "width": width, "bounds": x.rows.bounds, "parts": x.rows.parts},
            )
        return panels

    def linear(
        self, x: Activation, matrix: Matrix, name: str, *, bias: NDArray[np.float32] | None = None
    ) -> Activation:
        """W x (+ bias)."""
        out = self.activation(name, matrix.rows, x.rows)
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
            self._elementwise("add_bias", {"x": x.data, "bias": bias}, x)

    def _matmul(self, x: Activation, matrix: Matrix, out: Activation, *, accumulate: bool) -> None:
        common: dict[str, Argument] = {
            "y_stride": out.stride,
            "bounds": x.rows.bounds,
            "parts": x.rows.parts,
            "accumulate": int(accumulate),
        }
        assert matrix.parts == x.rows.parts
        self.changed(out)
        self._add_squares(x, matrix)
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

    def _add_squares(self, x: Activation, matrix: Matrix) -> None:
        """Once for each tensor, however many matrices it was split into."""
        if self._squares is None or matrix.name in self._squares:
            return
        if matrix.parts > 1:
            raise UnsupportedModel("the importance matrix of a mixture of experts cannot be measured yet")
        sums = self._squares[matrix.name] = zeros((padded(x.width),))
        self.tape.record(
            "add_squares",
            {"x": x.data, "sums": sums, "width": padded(x.width), "stride": x.stride, "rows": x.rows.count},
        )

    def rope_table(self, config: RopeConfig) -> RopeTable:
        """Another table than the model's own, for as many positions."""
        self.rope_tables.append(RopeTable(config, self.rope_tables[0].context, None))
        return self.rope_tables[-1]

    def rope(self, x: Activation, heads: int, table: RopeTable | None = None, size: int | None = None) -> Activation:
        """Rotate each head by its row's position, in place; pairs are (i, i + half).

        table: None for the model's; size: of a head, if it is not the key length.
        """
        table = table or self.rope_tables[0]
        self.changed(x)
        self.tape.record(
            "rope",
            {
                "x": x.data, "cos_sin": table.cos_sin, "positions": self.step.positions, "heads": heads,
                "size": size or self._config.key_length, "stride": x.stride, "rotated": table.cos_sin.shape[1],
                "rows": x.rows.count,
            },
        )  # fmt: skip
        return x

    def attention(
        self, q: Activation, k: Activation, v: Activation, *, scale: float | None = None, window: int | None = None,
        softcap: float = 0.0, sinks: NDArray[np.float32] | None = None,
    ) -> Activation:  # fmt: skip
        """Store k and v in a new layer's cache, then attention of every row to its own sequence.

        Causal, unless the configuration says otherwise: then a row sees its step's whole text. scale: of q k, by
        default 1 / sqrt(key length); window: how many positions a row sees, itself included, None for all; softcap:
        scores become softcap tanh(score / softcap), 0 for as they are; sinks: of each query head the score
        of something without a value that every row sees.
        """
        c, step, cache = self._config, self.step, self._kv_cache
        self.windowed |= window is not None
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
        out = self.activation("attention", c.head_count * value, q.rows)
        size = scratch_bytes(c.head_count // heads, key, value, cache.num_blocks * BLOCK_SIZE)
        scratch = self.buffer("scratch", self._threads, size, np.uint8)
        sizes: dict[str, Argument] = {"q_heads": c.head_count, "heads": heads, "key": key, "value": value}
        memory: dict[str, Argument] = {"segments": step.segments, "scratch": scratch, "scratch_bytes": size}
        last: dict[str, Argument] = {
            "window": window or 0, "causal": int(c.causal), "sinks": self._no_sinks if sinks is None else sinks,
            "count": step.segment_count,
        }  # fmt: skip
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

    def gate(self, function: ActivationFunction, gate: Activation, up: Activation) -> Activation:
        """function(gate) * up, in gate's buffer."""
        return self._elementwise(f"{function}_gate", {"gate": gate.data, "up": up.data}, gate)

    def activate(self, function: ActivationFunction, x: Activation) -> Activation:
        """function(x), in place."""
        return self._elementwise(function, {"x": x.data}, x)

    def scale(self, x: Activation, factor: float) -> Activation:
        """x *= factor"""
        return self._elementwise("scale", {"x": x.data, "factor": factor}, x)

    def soft_cap(self, x: Activation, cap: float) -> Activation:
        """x = cap tanh(x / cap)"""
        return self._elementwise("soft_cap", {"x": x.data, "cap": cap}, x)

    def add(self, x: Activation, y: Activation, factor: float = 1.0) -> Activation:
        """x += factor y"""
        return self._elementwise("add_scaled", {"x": x.data, "y": y.data, "factor": factor}, x)

    def _elementwise(self, kernel: str, arguments: dict[str, Argument], x: Activation) -> Activation:
        self.changed(x)
        self.tape.record(kernel, {**arguments, "width": padded(x.width), "rows": x.rows.count})
        return x

    def add_positions(self, x: Activation, table: NDArray[np.float32]) -> Activation:
        """x += the row's position's row of `table`, float32 (positions, padded width)."""
        self.max_positions = len(table)
        return self._elementwise("add_rows", {"x": x.data, "table": table, "indices": self.step.positions}, x)

    def add_token_types(self, x: Activation, table: NDArray[np.float32]) -> Activation:
        """x += the row's type's row of `table`, float32 (types, padded width)."""
        self.has_token_types = len(table) > 1
        return self._elementwise("add_rows", {"x": x.data, "table": table, "indices": self.step.token_types}, x)

    def kept_rows(self, x: Activation, name: str) -> Activation:
        """The rows of which something is wanted: logits or final states."""
        out = self.activation(name, x.width, self.step.kept)
        self.tape.record(
            "gather_rows",
            {
                "x": x.data, "indices": self.step.kept_rows, "out": out.data, "width": padded(x.width),
                "rows": self.step.kept.count,
            },
        )  # fmt: skip
        return out

    def output_rows(self, kept: Activation) -> Activation:
        """Of the kept rows those whose logits are wanted: the first ones, where they are."""
        return Activation(kept.data, kept.width, self.step.outputs)
