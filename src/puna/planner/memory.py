"""How much memory a loaded model takes: weights as they are held, KV cache, activations, the process itself.

What our own runner takes is counted as `puna.models` allocates it; what another engine takes, from the file's own
bytes. Knows no device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from puna.conversion.mixes import MIXES, tensor_types
from puna.errors import InvalidRequest, PunaError
from puna.gguf import ModelFile
from puna.gguf.mapped import MappedModel
from puna.kernels.attention_sizes import scratch_bytes
from puna.kernels.layouts import ROWS
from puna.kernels.tiling import EXTRA_BLOCK, PANEL_BLOCK
from puna.models import BLOCK_SIZE, KV_TYPES, MAX_TOKENS
from puna.models.memory import padded
from puna.models.weights import layout_of
from puna.planner.anatomy import Anatomy, Attention, Matrix, anatomy_of

MOST_TOKENS = 1 << 30  # of a context or of all sequences together

# Private memory of a runner beside what its model takes: Python, numpy, llvmlite with the kernels' code, the header.
# Measured: `python -m bench planned memory`.
RUNNER_BYTES = 33_500_000
RUNNER_BYTES_PER_TOKEN = 60  # of the vocabulary: where its texts are, a row of logits, what sampling needs

OTHER_RUNTIME_BYTES = 600_000_000  # driver, context and compute buffers of an engine on a GPU: an estimate
OTHER_KV_TYPES = {"f16": Fraction(2), "q8_0": Fraction(34, 32), "f32": Fraction(4)}


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes."""

    weights: int
    kv_cache: int
    activations: int
    runtime: int

    @property
    def total(self) -> int:
        """All."""
        return self.weights + self.kv_cache + self.activations + self.runtime


@dataclass(frozen=True, slots=True)
class Load:
    """What a model is loaded for."""

    context: int  # tokens of each sequence
    sequences: int = 1
    kv_type: str = "f16"

    def __post_init__(self) -> None:
        if not 1 <= self.context <= MOST_TOKENS or not 1 <= self.sequences <= MOST_TOKENS // self.context:
            raise InvalidRequest(
                f"{self.sequences} x {self.context} tokens of context: it must be 1 to {MOST_TOKENS} tokens in all"
            )
        if self.kv_type not in KV_TYPES:
            raise InvalidRequest(
                f"a KV cache of the type {self.kv_type!r:.40}: it must be one of {', '.join(KV_TYPES)}"
            )


def runner_memory(anatomy: Anatomy, load: Load, *, threads: int) -> Memory:
    """Private memory of our runner once its context is full."""
    return Memory(
        weights=packed_bytes(anatomy) + 4 * anatomy.vector_elements,
        kv_cache=runner_kv_bytes(anatomy, load),
        activations=_activations(anatomy, load) + _scratch(anatomy, load, threads),
        runtime=RUNNER_BYTES + RUNNER_BYTES_PER_TOKEN * anatomy.vocab_size,
    )


def other_memory(anatomy: Anatomy, load: Load) -> Memory:
    """Of an engine that keeps weights as the file has them and forgets what no window sees any more."""
    kv = sum(_kept(layer, load) for layer in anatomy.attention if layer) * load.sequences
    return Memory(
        weights=anatomy.file_bytes,
        kv_cache=int(kv * OTHER_KV_TYPES[load.kv_type]),
        activations=_activations(anatomy, load),
        runtime=OTHER_RUNTIME_BYTES,
    )


def packed_bytes(anatomy: Anatomy) -> int:
    """Matrices in the kernels' layouts; of the table of embeddings rows are read from the file, one by one."""
    return sum(map(packed, (*anatomy.matrices, *([anatomy.head] if anatomy.head else ()))))


def packed(matrix: Matrix) -> int:
    """Bytes of a matrix, all its copies, as our kernels have it."""
    layout = layout_of(matrix.type)
    return matrix.copies * padded(matrix.rows) // ROWS * (matrix.columns // layout.block) * layout.record


def runner_kv_bytes(anatomy: Anatomy, load: Load) -> int:
    """Whole blocks of 32 positions; positions that no window sees any more are kept. An encoder has those of a step."""
    if not anatomy.causal:
        blocks = -(-_rows(anatomy, load) // BLOCK_SIZE) + MAX_TOKENS
        return max(layer.cached for layer in anatomy.attention if layer) * 4 * BLOCK_SIZE * blocks
    blocks = load.sequences * -(-load.context // BLOCK_SIZE)
    return int(anatomy.cached_per_token * BLOCK_SIZE * KV_TYPES[load.kv_type]) * blocks


def _kept(layer: Attention, load: Load) -> int:
    return layer.cached * min(load.context, layer.window or load.context)


def _rows(anatomy: Anatomy, load: Load) -> int:
    """Tokens of a step; an encoder's may be a whole text."""
    return MAX_TOKENS if anatomy.causal else max(MAX_TOKENS, load.context, anatomy.context_length)


def _activations(anatomy: Anatomy, load: Load) -> int:
    """Rows of a step: residual, norm, queries, keys, values, attention, gate, up; and their panels."""
    layer = max((each for each in anatomy.attention if each), key=_queries, default=None)
    width = anatomy.embedding_length
    hidden = anatomy.feed_forward_length * max(1, anatomy.experts_used)
    mixed, queries, kv = (_queries(layer), layer.heads * layer.key, layer.cached) if layer else (0, 0, 0)
    floats = 2 * width + queries + kv + mixed + 2 * hidden
    panels = sum(each // 32 * (PANEL_BLOCK + EXTRA_BLOCK) for each in {width, mixed, hidden})
    return _rows(anatomy, load) * (4 * floats + panels)


def _queries(layer: Attention) -> int:
    return layer.heads * layer.value


def _scratch(anatomy: Anatomy, load: Load, threads: int) -> int:
    """What each thread needs for attention to so long a context."""
    layers = {layer for layer in anatomy.attention if layer}
    sizes = [
        scratch_bytes(max(1, layer.heads * (layer.key + layer.value) // layer.cached), layer.key, layer.value,
                      load.context)
        for layer in layers
    ]  # fmt: skip
    return threads * max(sizes, default=0)


def longest_context(memory: Callable[[Load], Memory], load: Load, room: int, most: int) -> int:
    """The most tokens of each sequence, up to `most`, with which a model takes `room` bytes at most; 0 for none."""
    low, high = 0, min(most, MOST_TOKENS // load.sequences)
    while low < high:
        middle = (low + high + 1) // 2
        if memory(replace(load, context=middle)).total <= room:
            low = middle
        else:
            high = middle - 1
    return low


def requantised(file: ModelFile, name: str) -> Anatomy:
    """The same model, quantised to one of llama.cpp's mixes. Raises InvalidRequest for a mix that there is not."""
    types = tensor_types(MIXES[name], file.metadata, file.tensors.values(), weighted=False)
    tensors = {name: replace(tensor, type=types[name]) for name, tensor in file.tensors.items()}
    return anatomy_of(MappedModel(file.path, file.metadata, tensors, []))


def smaller_mixes(file: ModelFile, than: int) -> list[tuple[str, Anatomy]]:
    """What the model may be quantised to that makes its file smaller than so many bytes; the largest first."""
    found = []
    for name, mix in MIXES.items():
        if not mix.quantized:
            continue
        try:
            anatomy = requantised(file, name)
        except PunaError:  # a mix for other models
            continue
        if anatomy.file_bytes < than:
            found.append((name, anatomy))
    return sorted(found, key=lambda each: -each[1].file_bytes)
