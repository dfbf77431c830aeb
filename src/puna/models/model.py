"""A loaded model: weights, KV cache and the tape of its forward pass.

Runs steps over chunks of several sequences. Knows token ids, positions and block tables; nothing of requests,
sampling or text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from puna import kernels
from puna.errors import UnsupportedModel
from puna.gguf import ModelConfig, ModelFile, dequantize
from puna.kernels import Progress, Team
from puna.models import llama, qwen2
from puna.models.forward import Forward, Step
from puna.models.kv_cache import BLOCK_SIZE, KV_TYPES, KVCache
from puna.models.rope import SCALING_TYPES, RopeTable
from puna.models.weights import Weights, kernel_groups

Record = Callable[[Forward, Weights, ModelConfig], None]

ARCHITECTURES: dict[str, Record] = {
    "llama": llama.record,
    "qwen2": qwen2.record,
}

MAX_TOKENS = 512  # rows of one step


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tokens of one sequence."""

    tokens: Sequence[int]
    start: int  # position of the first token
    block_table: Sequence[int]  # KV block of positions 0 to 31, 32 to 63, ...
    outputs: int  # for how many of its last tokens logits are wanted


class Model:
    """A model ready to run; made by `load`."""

    def __init__(
        self, file: ModelFile, config: ModelConfig, forward: Forward, team: Team, rope: RopeTable, weights: Weights,
        kv_cache: KVCache, context: int,
    ) -> None:  # fmt: skip
        assert forward.logits is not None
        self.config = config
        self.vocab_size = config.vocab_size
        self.max_tokens = forward.step.tokens.capacity
        self.max_outputs = forward.step.outputs.capacity
        self.num_blocks = kv_cache.num_blocks
        self.kv_block_bytes = kv_cache.block_bytes
        self.context = context  # positions that a sequence may have
        self.weight_bytes = weights.packed_bytes  # read for each token that is decoded
        self.warnings = weights.warnings()
        self._embedding = file.tensors["token_embd.weight"]
        self._forward, self._step, self._team, self._rope = forward, forward.step, team, rope
        self._logits = forward.logits.data
        self._kv_cache = kv_cache

    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Run one step; float32 (sum of the chunks' outputs, vocab_size), valid until the next call.

        Together at most `max_tokens` tokens and `max_outputs` outputs. Keys and values go to the blocks named.
        Raises ValueError for anything that the kernels, which check nothing, could not run.
        """
        tokens = np.concatenate([np.zeros(0, np.int64), *(np.asarray(chunk.tokens, np.int64) for chunk in chunks)])
        self._check(chunks, tokens)
        tables = self._lay_out(chunks)
        self._embed(tokens)
        self._team.run(self._forward.tape)
        del tables  # the kernels read them by address until here
        return self._logits[: int(self._step.outputs.count[0]), : self.vocab_size]

    def _check(self, chunks: Sequence[Chunk], tokens: NDArray[np.int64]) -> None:
        if not 0 < len(tokens) <= self.max_tokens or len(chunks) > len(self._step.segments):
            raise ValueError(f"a step takes 1 to {self.max_tokens} tokens, not {len(tokens)}")
        if tokens.min() < 0 or tokens.max() >= self.vocab_size:
            raise ValueError(f"token ids run from 0 to {self.vocab_size - 1}")
        for chunk in chunks:
            if not 0 <= chunk.outputs <= len(chunk.tokens):
                raise ValueError(f"{chunk.outputs} outputs of a chunk of {len(chunk.tokens)} tokens")
        outputs = sum(chunk.outputs for chunk in chunks)
        if outputs > self.max_outputs:
            raise ValueError(f"{outputs} outputs: the model was loaded for at most {self.max_outputs} in a step")

    def _block_table(self, chunk: Chunk, end: int) -> NDArray[np.int64]:
        if chunk.start < 0 or end > self.context:
            raise ValueError(f"positions {chunk.start} to {end - 1}: the model was loaded for 0 to {self.context - 1}")
        table = np.asarray(chunk.block_table, np.int64)
        if len(table) * BLOCK_SIZE < end:
            raise ValueError(f"the block table does not cover positions 0 to {end - 1}")
        if len(table) and not 0 <= table.min() <= table.max() < self.num_blocks:
            raise ValueError(f"the block table names blocks beyond the {self.num_blocks} there are")
        return table

    def _lay_out(self, chunks: Sequence[Chunk]) -> list[NDArray[np.int64]]:
        """Write positions, block tables and output rows; gives the tables, to be kept alive."""
        step, row, outputs, tables = self._step, 0, 0, []
        for i, chunk in enumerate(chunks):
            count, end = len(chunk.tokens), chunk.start + len(chunk.tokens)
            table = self._block_table(chunk, end)
            tables.append(table)
            self._rope.reach(end - 1)
            step.positions[row : row + count] = np.arange(chunk.start, end)
            step.tables[row : row + count] = table.ctypes.data
            step.segments[i] = row, count, chunk.start, table.ctypes.data
            row += count
            step.output_rows[outputs : outputs + chunk.outputs] = np.arange(row - chunk.outputs, row)
            outputs += chunk.outputs
        step.tokens.count[0], step.outputs.count[0], step.segment_count[0] = row, outputs, len(chunks)
        return tables

    def _embed(self, tokens: NDArray[np.int64]) -> None:
        width = self.config.embedding_length
        raw = np.concatenate([self._embedding.read(token, token + 1) for token in tokens.tolist()])
        self._forward.input.data[: len(tokens), :width] = dequantize(raw, self._embedding.type, (len(tokens), width))

    def read_kv_block(self, index: int) -> NDArray[np.uint8]:
        """A copy of a KV block: `kv_block_bytes` bytes, layer after layer. Not while a step runs."""
        return self._kv_cache.read_block(index)

    def write_kv_block(self, index: int, data: bytes | memoryview | NDArray[np.uint8]) -> None:
        """Put back what `read_kv_block` gave, in any block. Raises ValueError for another size."""
        self._kv_cache.write_block(index, data)

    def close(self) -> None:
        """End the team's threads."""
        self._team.close()


def load(
    file: ModelFile, *, threads: int, num_blocks: int, context: int | None = None, max_outputs: int = 16,
    kv_type: str = "f16", progress: Progress | None = None,
) -> Model:  # fmt: skip
    """Load a model for `num_blocks` KV blocks of 32 positions (their memory is taken as they are used).

    context: positions that a sequence may have, by default as many as the blocks hold; more than the model was
    trained for is allowed. kv_type: 'f16', 'q8_0' or 'f32'. Raises UnsupportedModel or InvalidGGUF when the file is
    not one we can run, ValueError for arguments that make no sense.
    """
    config = configuration(file)
    record = ARCHITECTURES[config.architecture]
    context = _context(num_blocks, context)
    if threads < 1 or max_outputs < 1 or kv_type not in KV_TYPES:
        raise ValueError(f"threads={threads}, max_outputs={max_outputs}, kv_type={kv_type!r}")
    if kv_type == "q8_0" and (config.key_length % 32 or config.value_length % 32):
        sizes = f"{config.key_length} (keys) and {config.value_length} (values)"
        raise UnsupportedModel(f"{file.path}: a q8_0 KV cache needs heads in multiples of 32, not {sizes}: use f16")
    library = kernels.load(progress, {f"attention_{kv_type}", *kernel_groups(file)})
    with Weights(file, library, threads) as weights:
        if progress:
            weights.on_taken = lambda done, total: progress("loading weights", done, total)
        weights.tensor("token_embd.weight", (config.vocab_size, config.embedding_length))
        rope = RopeTable(config.rope, context, _freq_factors(weights, config))
        step = Step(MAX_TOKENS, max_outputs, max_chunks=MAX_TOKENS)
        kv_cache = KVCache(num_blocks, kv_type)
        forward = Forward(config, library, step, rope, kv_cache, threads=threads)
        record(forward, weights, config)
        weights.check_all_taken(ignored=("rope_freqs.weight",))
    return Model(file, config, forward, Team(library, threads), rope, weights, kv_cache, context)


def configuration(file: ModelFile) -> ModelConfig:
    """The configuration, if it is one that we can run; other architectures' metadata need not even be alike."""
    name = file.metadata.get("general.architecture")
    if isinstance(name, str) and name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UnsupportedModel(f"{file.path}: architecture {name!r:.80} is not one of {known}")
    config = ModelConfig.from_model(file)
    if file.metadata.get(f"{config.architecture}.expert_count"):
        raise UnsupportedModel(f"{file.path}: a mixture of experts cannot be run yet")
    if config.rope.scaling_type not in SCALING_TYPES:
        raise UnsupportedModel(f"{file.path}: rope scaling {config.rope.scaling_type!r} is not supported yet")
    if config.key_length % 16 or config.value_length % 16:
        sizes = f"{config.key_length} (keys) and {config.value_length} (values)"
        raise UnsupportedModel(f"{file.path}: heads of {sizes} are not multiples of 16")
    return config


def _context(num_blocks: int, context: int | None) -> int:
    if num_blocks < 1:
        raise ValueError(f"num_blocks={num_blocks}")
    held = num_blocks * BLOCK_SIZE
    if context is not None and not 1 <= context <= held:
        raise ValueError(f"context={context} is not 1 to {held}, what {num_blocks} blocks hold")
    return context or held


def _freq_factors(weights: Weights, config: ModelConfig) -> NDArray[np.float32] | None:
    half = config.rope.dimension_count // 2
    if "rope_freqs.weight" not in weights:
        return None
    return weights.vector("rope_freqs.weight", half)[:half]


def blocks_for(tokens: int) -> int:
    """KV blocks that hold so many tokens."""
    return -(-tokens // BLOCK_SIZE)
