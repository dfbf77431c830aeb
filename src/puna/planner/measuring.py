"""Measures what this machine reaches: its limits, and the forward pass of a model that exists in memory only.

The model is Llama's, a few layers of it, with zeros for weights: speed does not depend on them. One for each layout of
weights, so that predictions are of the kernels that will run; overhead and attention are told apart by running it
with a longer context and with fewer layers.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from puna import hardware, kernels
from puna.gguf import GGMLType, Tensor, Value
from puna.gguf.mapped import MappedModel
from puna.kernels import Progress, Tape, Team
from puna.models import BLOCK_SIZE, MAX_TOKENS, Chunk, Model, load
from puna.models.memory import zeros
from puna.models.weights import layout_of
from puna.planner.anatomy import anatomy_of
from puna.planner.calibration import USUAL_LAYER_SECONDS, Calibration, Limits
from puna.planner.flops import activations, forward
from puna.planner.memory import packed
from puna.planner.rates import Rate

READ_BYTES = 1 << 29
DOT_ROUNDS = 2_000_000
RUNS = 3  # of each, of which the best counts for limits, the median for kernels

# The types of weights that files have most; what others reach is taken to be the median of these.
TYPES = (
    GGMLType.Q4_0, GGMLType.Q4_K, GGMLType.Q5_K, GGMLType.Q6_K, GGMLType.Q8_0, GGMLType.F16, GGMLType.BF16,
)  # fmt: skip
DEEP = 2048  # positions before the steps that tell attention's share
DECODED = 8  # steps
WIDTH, HIDDEN, HEAD, HEADS_OF_ONE, VOCABULARY = 2048, 5632, 64, 8, 512  # heads of queries of one head of keys
NARROW = 512  # the width of a model of which less is products, more what is beside them
WEIGHT_BYTES = 500_000_000  # at least: more than caches hold, and enough for noise to pass

OnProgress = Callable[[str, int, int], None]


class LimitProbe:
    """Tapes that do nothing but reach a limit."""

    def __init__(self, threads: int, progress: Progress | None = None) -> None:
        library = kernels.load(progress)
        self._team = Team(library, threads)
        source, out = zeros((READ_BYTES,), np.uint8), zeros((threads * 1024,), np.float32)
        source[:] = 1  # pages that were never written are one and the same
        self._read, self._dot = Tape(library), Tape(library)
        self._read.record("stream_read", {"source": source, "lines": READ_BYTES // 256, "out": out})
        self._dot.record("dot_peak", {"source": source, "rounds": DOT_ROUNDS, "out": out})

    def limits(self) -> Limits:
        """In this very minute: those of a virtual machine change."""
        return Limits(
            read=READ_BYTES / min(self._seconds(self._read) for _ in range(RUNS)),
            dot=DOT_ROUNDS * 12 * 128 / min(self._seconds(self._dot) for _ in range(RUNS)),
        )

    def close(self) -> None:
        """End the threads."""
        self._team.close()

    def _seconds(self, tape: Tape) -> float:
        start = time.perf_counter()
        self._team.run(tape)
        return time.perf_counter() - start


def limits(threads: int, progress: Progress | None = None) -> Limits:
    """Measure the limits once, in a second or two (and what compiling the kernels takes the first time)."""
    probe = LimitProbe(threads, progress)
    try:
        return probe.limits()
    finally:
        probe.close()


def calibrate(threads: int, progress: OnProgress | None = None) -> Calibration:
    """Measure all of it: about a minute, and what compiling the kernels takes the first time."""
    tell = progress or (lambda _what, _done, _total: None)
    probe = LimitProbe(threads, progress)
    before = probe.limits()
    first = _Timed(GGMLType.Q4_0, threads, layers=None, progress=progress)
    kv_read, attention = first.attention()
    beside = _Beside(attention, _layer_seconds(threads, progress), 0.0)
    beside = replace(beside, activation=_activation_seconds(first, beside, progress))
    found = {}
    for number, kind in enumerate(TYPES, 1):
        tell("measuring kernels", number, len(TYPES))
        timed = first if kind is GGMLType.Q4_0 else _Timed(kind, threads, layers=None, progress=progress)
        found[layout_of(kind).name] = timed.rate(beside)
        timed.close()
    after = probe.limits()
    probe.close()
    return Calibration(
        platform.processor() or platform.machine(), str(hardware.isa()), threads, time.time(),
        (before.read + after.read) / 2, (before.dot + after.dot) / 2, found, kv_read, attention, beside.layer,
        beside.activation,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Beside:
    """What is no product with weights: operations of attention a second; seconds of a layer and of an activation."""

    attention: float
    layer: float
    activation: float


class _Timed:
    """A model in memory, and how long its steps take."""

    def __init__(
        self, kind: GGMLType, threads: int, *, layers: int | None, width: int = WIDTH, progress: OnProgress | None
    ) -> None:
        self.threads = threads
        each = _layer_elements(width) * kind.bits_per_weight / 8
        self._layers = layers or max(2, round(WEIGHT_BYTES / each))
        self._kind = kind
        file = _model(kind, self._layers, width)
        self.anatomy = anatomy_of(file)
        blocks = -(-(DEEP + MAX_TOKENS + DECODED) // BLOCK_SIZE)
        self._model: Model = load(file, threads=threads, num_blocks=blocks, progress=progress)
        self._blocks = range(blocks)

    def rate(self, beside: _Beside) -> Rate:
        """Of its weights; what is beside the products is taken off."""
        weights = [*self.anatomy.matrices, *([self.anatomy.head] if self.anatomy.head else [])]
        decode = self._layers * beside.layer + activations(self.anatomy, 1, 1) * beside.activation
        prefill, products = self.prefill(beside)
        prefill -= activations(self.anatomy, MAX_TOKENS, 1) * beside.activation
        return Rate(
            read=sum(map(packed, weights)) / _difference(self._decode(0), decode),
            compute=products / max(prefill, 1e-9),
        )

    def prefill(self, beside: _Beside) -> tuple[float, int]:
        """Seconds of MAX_TOKENS tokens without attention and the layers' own, and the operations of their products."""
        flops = forward(self.anatomy, MAX_TOKENS, outputs=1)
        rest = self._layers * beside.layer + flops.attention / beside.attention
        return _difference(self._prefill(0), rest), flops.matrices

    def attention(self) -> tuple[float, float]:
        """Bytes of the cache that a token reads a second, and operations of many tokens a second."""
        self._fill(DEEP)
        decode = _difference(self._decode(DEEP), self._decode(0))
        prefill = _difference(self._prefill(DEEP), self._prefill(0))
        far, near = (forward(self.anatomy, MAX_TOKENS, start=start, outputs=1).attention for start in (DEEP, 0))
        return 2 * self.anatomy.cached_per_token * DEEP / decode, (far - near) / prefill

    def step(self) -> float:
        """Seconds of a step of one token."""
        return self._decode(0)

    def close(self) -> None:
        """End its threads."""
        self._model.close()

    def _fill(self, positions: int) -> None:
        for start in range(0, positions, MAX_TOKENS):
            self._run(MAX_TOKENS, start)

    def _prefill(self, start: int) -> float:
        self._run(MAX_TOKENS, start)
        return median(self._run(MAX_TOKENS, start) for _ in range(RUNS))

    def _decode(self, start: int) -> float:
        self._run(1, start)
        return median(self._run(1, start + i) for i in range(DECODED * RUNS))

    def _run(self, tokens: int, start: int) -> float:
        began = time.perf_counter()
        self._model.forward([Chunk([0] * tokens, start, self._blocks, outputs=1)])
        return time.perf_counter() - began


def _difference(whole: float, part: float) -> float:
    """What is left of a time; never less than a twentieth of it, whatever noise says."""
    return max(whole - part, whole / 20)


def _layer_seconds(threads: int, progress: OnProgress | None) -> float:
    """A layer's overhead: that of a model whose weights are next to nothing."""
    small = _Timed(GGMLType.Q4_0, threads, layers=24, width=64, progress=progress)
    try:
        return max(small.step() / 24, USUAL_LAYER_SECONDS / 10)
    finally:
        small.close()


def _activation_seconds(wide: _Timed, beside: _Beside, progress: OnProgress | None) -> float:
    """From two models of one type of weights, one of them narrow, of seconds = operations / rate + numbers * this."""
    narrow = _Timed(GGMLType.Q4_0, wide.threads, layers=24, width=NARROW, progress=progress)
    try:
        (long, many), (short, few) = wide.prefill(beside), narrow.prefill(beside)
        of_wide, of_narrow = (activations(each.anatomy, MAX_TOKENS, 1) for each in (wide, narrow))
        return max(0.0, (short - long * few / many) / (of_narrow - of_wide * few / many))
    finally:
        narrow.close()


def _layer_elements(width: int) -> int:
    return sum(rows * columns for rows, columns in _matrices(width).values())


def _heads(width: int) -> tuple[int, int]:
    """Heads of queries, and of keys and values."""
    heads = width // HEAD
    return heads, max(1, heads // HEADS_OF_ONE)


def _matrices(width: int) -> dict[str, tuple[int, int]]:
    hidden = HIDDEN * width // WIDTH // 32 * 32
    kv = _heads(width)[1] * HEAD
    return {
        "attn_q": (width, width), "attn_k": (kv, width), "attn_v": (kv, width), "attn_output": (width, width),
        "ffn_gate": (hidden, width), "ffn_up": (hidden, width), "ffn_down": (width, hidden),
    }  # fmt: skip


def _model(kind: GGMLType, layers: int, width: int) -> MappedModel:
    """The model: its tensors are zeros, made as they are asked for."""
    heads, kv_heads = _heads(width)
    shapes: dict[str, tuple[tuple[int, ...], GGMLType]] = {
        "token_embd.weight": ((VOCABULARY, width), kind), "output_norm.weight": ((width,), GGMLType.F32),
    }  # fmt: skip
    for i in range(layers):
        for part in ("attn_norm", "ffn_norm"):
            shapes[f"blk.{i}.{part}.weight"] = (width,), GGMLType.F32
        shapes |= {f"blk.{i}.{part}.weight": (shape, kind) for part, shape in _matrices(width).items()}
    tensors = {
        name: Tensor(name, shape, of, partial(_zeros, of.nbytes(shape[-1:]))) for name, (shape, of) in shapes.items()
    }
    metadata: dict[str, Value] = {
        "general.architecture": "llama", "general.name": f"zeros in {kind.name}", "llama.context_length": 1 << 16,
        "llama.embedding_length": width, "llama.block_count": layers,
        "llama.feed_forward_length": _matrices(width)["ffn_up"][0], "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads, "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }  # fmt: skip
    return MappedModel(Path("zeros.gguf"), metadata, tensors, [])


def _zeros(row: int, first: int, last: int) -> NDArray[np.uint8]:
    return np.zeros((last - first) * row, np.uint8)
