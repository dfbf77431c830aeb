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
from puna.models.forward import BLOCK_SIZE, Forward, Step
from puna.models.rope import RopeTable
from puna.models.weights import Weights

ARCHITECTURES: dict[str, Callable[[Forward, Weights, ModelConfig], None]] = {
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
        self, file: ModelFile, config: ModelConfig, forward: Forward, team: Team, rope: RopeTable, weight_bytes: int,
        num_blocks: int,
    ) -> None:  # fmt: skip
        assert forward.logits is not None
        self.config = config
        self.vocab_size = config.vocab_size
        self.max_tokens = forward.step.tokens.capacity
        self.max_outputs = forward.step.outputs.capacity
        self.num_blocks = num_blocks
        self.weight_bytes = weight_bytes  # read for each token that is decoded
        self._embedding = file.tensors["token_embd.weight"]
        self._rows = self._embedding.data.reshape(config.vocab_size, -1)
        self._forward, self._step, self._team, self._rope = forward, forward.step, team, rope
        self._logits = forward.logits.data

    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Run one step; float32 (sum of the chunks' outputs, vocab_size), valid until the next call.

        Together at most `max_tokens` tokens and `max_outputs` outputs. Keys and values go to the blocks named.
        """
        tokens = np.concatenate([np.asarray(chunk.tokens, np.int64) for chunk in chunks])
        if not 0 < len(tokens) <= self.max_tokens or len(chunks) > len(self._step.segments):
            raise ValueError(f"a step takes 1 to {self.max_tokens} tokens, not {len(tokens)}")
        if tokens.min() < 0 or tokens.max() >= self.vocab_size:
            raise ValueError(f"token ids run from 0 to {self.vocab_size - 1}")
        tables = self._lay_out(chunks)
        self._embed(tokens)
        self._team.run(self._forward.tape)
        del tables  # the kernels read them by address until here
        return self._logits[: int(self._step.outputs.count[0]), : self.vocab_size]

    def _lay_out(self, chunks: Sequence[Chunk]) -> list[NDArray[np.int64]]:
        """Write positions, block tables and output rows; gives the tables, to be kept alive."""
        step, row, outputs, tables = self._step, 0, 0, []
        for i, chunk in enumerate(chunks):
            count, end = len(chunk.tokens), chunk.start + len(chunk.tokens)
            table = np.asarray(chunk.block_table, np.int64)
            if len(table) * BLOCK_SIZE < end or (len(table) and not 0 <= table.min() <= table.max() < self.num_blocks):
                raise ValueError(f"the block table does not cover positions 0 to {end - 1}")
            if end > len(self._rope.cos_sin) or outputs + chunk.outputs > self.max_outputs:
                raise ValueError(f"position {end - 1} or {outputs + chunk.outputs} outputs are beyond what was loaded")
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
        raw = self._rows[tokens].reshape(-1)
        self._forward.input.data[: len(tokens), :width] = dequantize(raw, self._embedding.type, (len(tokens), width))

    def close(self) -> None:
        """End the team's threads."""
        self._team.close()


def load(
    file: ModelFile, *, threads: int, num_blocks: int, max_outputs: int = 16, kv_type: str = "f16",
    progress: Progress | None = None,
) -> Model:  # fmt: skip
    """Load a model for `num_blocks` KV blocks of 32 positions (their memory is taken as they are used).

    kv_type: 'f16' or 'f32'. Raises UnsupportedModel or InvalidGGUF when the file is not one we can run.
    """
    config = ModelConfig.from_model(file)
    record = ARCHITECTURES.get(config.architecture)
    if record is None:
        known = ", ".join(ARCHITECTURES)
        raise UnsupportedModel(f"{file.path}: architecture {config.architecture!r} is not one of {known}")
    if config.key_length % 16 or config.value_length % 16:
        raise UnsupportedModel(f"{file.path}: heads of {config.key_length} are not a multiple of 16")
    library = kernels.load(progress)
    team = Team(library, threads)
    weights = Weights(file, library, team)
    if progress:
        weights.on_taken = lambda done, total: progress("loading weights", done, total)
    embedding = weights.tensor("token_embd.weight", (config.vocab_size, config.embedding_length))
    rope = RopeTable(config.rope, num_blocks * BLOCK_SIZE, _freq_factors(weights, config))
    step = Step(MAX_TOKENS, max_outputs, max_chunks=MAX_TOKENS)
    forward = Forward(config, library, step, rope, threads=threads, num_blocks=num_blocks, kv_type=kv_type)
    record(forward, weights, config)
    weights.check_all_taken(ignored=("rope_freqs.weight",))
    tied = "output.weight" not in weights
    weight_bytes = sum(t.nbytes for t in file.tensors.values()) - (0 if tied else embedding.nbytes)
    return Model(file, config, forward, team, rope, weight_bytes, num_blocks)


def _freq_factors(weights: Weights, config: ModelConfig) -> NDArray[np.float32] | None:
    half = config.rope.dimension_count // 2
    if "rope_freqs.weight" not in weights:
        return None
    return weights.vector("rope_freqs.weight", half)[:half]


def blocks_for(tokens: int) -> int:
    """KV blocks that hold so many tokens."""
    return -(-tokens // BLOCK_SIZE)
