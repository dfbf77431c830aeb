"""A loaded model: weights, KV cache and the tape of its forward pass.

Runs steps over chunks of several sequences. Knows token ids, positions and block tables; nothing of requests,
sampling or text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from puna import kernels
from puna.errors import UnsupportedModel
from puna.gguf import ModelConfig, ModelFile, dequantize
from puna.kernels import Progress, Team
from puna.models import (
    bert,
    cohere2,
    command_r,
    deepseek2,
    exaone4,
    falcon,
    gemma,
    gemma2,
    gemma3,
    glm4,
    gpt2,
    gpt_oss,
    gptneox,
    granite,
    llama,
    nomic_bert,
    olmo2,
    phi2,
    phi3,
    qwen2,
    qwen2moe,
    qwen3,
    qwen3moe,
    smollm3,
    stablelm,
    starcoder2,
)
from puna.models.adapters import Adapter
from puna.models.forward import Forward, Squares, Step
from puna.models.kv_cache import BLOCK_SIZE, KV_TYPES, KVCache
from puna.models.rope import RopeTable
from puna.models.weights import Weights, kernel_groups

Record = Callable[[Forward, Weights, ModelConfig], None]

ARCHITECTURES: dict[str, Record] = {
    "bert": bert.record,
    "nomic-bert": nomic_bert.record,
    "llama": llama.record,
    "internlm2": llama.record,
    "qwen2": qwen2.record,
    "exaone": qwen2.record,
    "qwen3": qwen3.record,
    "qwen2moe": qwen2moe.record,
    "qwen3moe": qwen3moe.record,
    "deepseek2": deepseek2.record,
    "gpt-oss": gpt_oss.record,
    "smollm3": smollm3.record,
    "granite": granite.record,
    "minicpm": granite.record,
    "gemma": gemma.record,
    "gemma2": gemma2.record,
    "gemma3": gemma3.record,
    "olmo2": olmo2.record,
    "exaone4": exaone4.record,
    "glm4": glm4.record,
    "phi2": phi2.record,
    "phi3": phi3.record,
    "starcoder2": starcoder2.record,
    "stablelm": stablelm.record,
    "command-r": command_r.record,
    "cohere2": cohere2.record,
    "gptneox": gptneox.record,
    "falcon": falcon.record,
    "gpt2": gpt2.record,
}

_ROPE_FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
MAX_TOKENS = 512  # rows of one step


@dataclass(frozen=True, slots=True)
class ImageRows:
    """Vectors in the places of tokens, whose ids mean nothing then."""

    first: int  # of the chunk's tokens, counted from 0
    vectors: NDArray[np.float32]  # (rows, embedding_length)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tokens of one sequence."""

    tokens: Sequence[int]
    start: int  # position of the first token
    block_table: Sequence[int]  # KV block of positions 0 to 31, 32 to 63, ...
    outputs: int  # for how many of its last tokens logits are wanted
    states: range = range(0)  # of which of its tokens, counted from 0, the final hidden states are wanted
    second: int | None = None  # of a pair of texts read together: how many tokens come before the second
    adapter: int = 0  # which of the model's LoRA adapters, counted from 1; 0: none
    images: Sequence[ImageRows] = ()


class Model:
    """A model ready to run; made by `load`."""

    def __init__(
        self, file: ModelFile, config: ModelConfig, forward: Forward, team: Team, weights: Weights,
        kv_cache: KVCache, context: int, adapters: Mapping[str, bytes],
    ) -> None:  # fmt: skip
        assert forward.states is not None
        self.config = config
        self.adapters = adapters  # those that chunks may choose, number 1 first: names, and digests of what they add
        self.pooling = config.pooling
        self.causal = config.causal
        self.vocab_size = config.vocab_size
        self.max_tokens = forward.step.tokens.capacity
        self.max_outputs = forward.step.outputs.capacity if forward.logits else 0
        self.num_blocks = kv_cache.num_blocks
        self.kv_block_bytes = kv_cache.block_bytes
        self.context = context  # positions that a sequence may have
        self.weight_bytes = weights.read_bytes  # read for each token that is decoded
        self.warnings = weights.warnings()
        self._embedding = file.tensors["token_embd.weight"]
        # An encoder reads hundreds of rows in each step, which from the file takes a tenth of a small one's time.
        self._table = None if config.causal else self._embedding.data.reshape(self.vocab_size, -1)
        self._forward, self._step, self._team = forward, forward.step, team
        self._logits = forward.logits.data if forward.logits else np.zeros((0, self.vocab_size), np.float32)
        self._states = forward.states
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
        self._put_images(chunks)
        self._team.run(self._forward.tape)
        del tables  # the kernels read them by address until here
        return self._logits[: int(self._step.outputs.count[0]), : self.vocab_size]

    def states(self) -> NDArray[np.float32]:
        """Final hidden states that the last step's chunks wanted: (rows, embedding_length), in their order.

        After the output norm; of a model that ranks, what it makes of them: (rows, labels). Valid until the next step.
        """
        first, end = int(self._step.outputs.count[0]), int(self._step.kept.count[0])
        return self._states.data[first:end, : self._states.width]

    def _check(self, chunks: Sequence[Chunk], tokens: NDArray[np.int64]) -> None:
        if not 0 < len(tokens) <= self.max_tokens or len(chunks) > len(self._step.segments):
            raise ValueError(f"a step takes 1 to {self.max_tokens} tokens, not {len(tokens)}")
        if tokens.min() < 0 or tokens.max() >= self.vocab_size:
            raise ValueError(f"token ids run from 0 to {self.vocab_size - 1}")
        for chunk in chunks:
            if not 0 <= chunk.outputs <= len(chunk.tokens):
                raise ValueError(f"{chunk.outputs} outputs of a chunk of {len(chunk.tokens)} tokens")
            if chunk.second is not None and not 0 <= chunk.second <= len(chunk.tokens):
                raise ValueError(f"a second text after {chunk.second} of {len(chunk.tokens)} tokens")
            if not 0 <= chunk.adapter <= len(self.adapters):
                raise ValueError(f"adapter {chunk.adapter}: the model was loaded with {len(self.adapters)}")
            for rows in chunk.images:
                end = rows.first + len(rows.vectors)
                if not 0 <= rows.first <= end <= len(chunk.tokens):
                    raise ValueError(f"an image in the places {rows.first} to {end} of {len(chunk.tokens)}")
            if chunk.states and not 0 <= chunk.states[0] <= chunk.states[-1] < len(chunk.tokens):
                raise ValueError(f"the states {chunk.states} of a chunk of {len(chunk.tokens)} tokens")
        outputs = sum(chunk.outputs for chunk in chunks)
        if outputs + sum(len(chunk.states) for chunk in chunks) > self._step.kept.capacity:
            raise ValueError(f"of {self._step.kept.capacity} rows at most logits or states may be wanted")
        if not self.causal and any(chunk.start for chunk in chunks):
            raise ValueError("this model sees whole texts: a chunk must begin with the first token")
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
        """Write positions, block tables and the rows that are wanted; gives the tables, to be kept alive."""
        step, row, tables = self._step, 0, []
        outputs: list[int] = []
        states: list[int] = []
        for i, chunk in enumerate(chunks):
            count, end = len(chunk.tokens), chunk.start + len(chunk.tokens)
            table = self._block_table(chunk, end)
            tables.append(table)
            for rope in self._forward.rope_tables:
                rope.reach(end - 1)
            step.positions[row : row + count] = np.arange(chunk.start, end)
            step.tables[row : row + count] = table.ctypes.data
            step.adapters[row : row + count] = chunk.adapter
            step.segments[i] = row, count, chunk.start, table.ctypes.data
            step.token_types[row : row + count] = 0
            if chunk.second is not None and self._forward.has_token_types:
                step.token_types[row + chunk.second : row + count] = 1
            states += (row + index for index in chunk.states)
            row += count
            outputs += range(row - chunk.outputs, row)
        kept = [*outputs, *states]
        step.kept_rows[: len(kept)] = kept
        step.kept_adapters[: len(kept)] = step.adapters[kept]
        step.tokens.count[0], step.segment_count[0] = row, len(chunks)
        step.outputs.count[0], step.kept.count[0] = len(outputs), len(kept)
        return tables

    def _embed(self, tokens: NDArray[np.int64]) -> None:
        width = self.config.embedding_length
        if self._table is None:
            raw = np.concatenate([self._embedding.read(token, token + 1) for token in tokens.tolist()])
        else:
            raw = self._table[tokens].reshape(-1)
        self._forward.input.data[: len(tokens), :width] = dequantize(raw, self._embedding.type, (len(tokens), width))

    def _put_images(self, chunks: Sequence[Chunk]) -> None:
        start = 0
        for chunk in chunks:
            for rows in chunk.images:
                first = start + rows.first
                self._forward.input.data[first : first + len(rows.vectors), : self.config.embedding_length] = (
                    rows.vectors
                )
            start += len(chunk.tokens)

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
    kv_type: str = "f16", squares: Squares | None = None, adapters: Sequence[Adapter] = (),
    progress: Progress | None = None,
) -> Model:  # fmt: skip
    """Load a model for `num_blocks` KV blocks of 32 positions (their memory is taken as they are used).

    context: positions that a sequence may have, by default as many as the blocks hold; more than the model was
    trained for is allowed. kv_type: 'f16', 'q8_0' or 'f32'; a model that sees whole texts keeps none, and takes f32.
    squares: gets an array for each matrix, to which every step adds.
    adapters: LoRA, of which a chunk may choose one; their names differ.

    Raises UnsupportedModel or InvalidGGUF when the file is not one we can run, ValueError for arguments that make no
    sense.
    """
    config = configuration(file)
    record = ARCHITECTURES[config.architecture]
    asked, context = context, _context(num_blocks, context)
    if not config.causal and asked is None:
        context = min(context, config.context_length)  # of which a step has as many rows
    if threads < 1 or max_outputs < 1 or kv_type not in KV_TYPES:
        raise ValueError(f"threads={threads}, max_outputs={max_outputs}, kv_type={kv_type!r}")
    if not config.causal:
        kv_type = "f32"
    if kv_type == "q8_0" and (config.key_length % 32 or config.value_length % 32):
        sizes = f"{config.key_length} (keys) and {config.value_length} (values)"
        raise UnsupportedModel(f"{file.path}: a q8_0 KV cache needs heads in multiples of 32, not {sizes}: use f16")
    groups = {f"attention_{kv_type}", *kernel_groups(file), *(("routing", "f32") if adapters else ())}
    library = kernels.load(progress, groups)
    with Weights(file, library, threads, adapters) as weights:
        if progress:
            weights.on_taken = lambda done, total: progress("loading weights", done, total)
        weights.tensor("token_embd.weight", (config.vocab_size, config.embedding_length))
        rope = RopeTable(config.rope, context, _freq_factors(weights, config, context))
        rows = MAX_TOKENS if config.causal else max(MAX_TOKENS, context)
        step = Step(rows, max_outputs, max_chunks=rows)
        kv_cache = KVCache(num_blocks, kv_type, kept=config.causal)
        forward = Forward(config, library, step, rope, kv_cache, threads=threads, squares=squares)
        record(forward, weights, config)
        context = _within_learned_positions(file, forward, context, asked=asked)
        _check_all_used(file, config, forward, weights)
    digests = {adapter.name: adapter.digest() for adapter in adapters}
    return Model(file, config, forward, Team(library, threads), weights, kv_cache, context, digests)


def configuration(file: ModelFile) -> ModelConfig:
    """The configuration, if it is one that we can run; other architectures' metadata need not even be alike."""
    name = file.metadata.get("general.architecture")
    if isinstance(name, str) and name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UnsupportedModel(
            f"{file.path}: architecture {name!r:.80} is not one of those that Puna runs ({known}): "
            f"llama.cpp may run it (llama-server -m {file.path.name})"
        )
    config = ModelConfig.from_model(file)
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


def _within_learned_positions(file: ModelFile, forward: Forward, context: int, *, asked: int | None) -> int:
    """The context, or as many positions as have an embedding."""
    most = forward.max_positions
    if most is not None and asked is not None and asked > most:
        raise UnsupportedModel(
            f"{file.path}: a context of {asked}: the model has learned {most} positions, and no more"
        )
    return context if most is None else min(context, most)


def _check_all_used(file: ModelFile, config: ModelConfig, forward: Forward, weights: Weights) -> None:
    """Raise UnsupportedModel for what the file has and the forward pass does not."""
    weights.check_all_taken(ignored=_ROPE_FACTORS)
    if config.sliding_window and not forward.windowed and any(config.sliding_layers or [True]):
        raise UnsupportedModel(f"{file.path}: a sliding window, which {config.architecture} is not known to have")


def _freq_factors(weights: Weights, config: ModelConfig, context: int) -> NDArray[np.float32] | None:
    """LongRoPE has factors for contexts beyond the original one, and others for those within it."""
    half = config.rope.dimension_count // 2
    chosen = "long" if context > config.rope.original_context_length else "short"
    for name in ("rope_freqs.weight", f"rope_factors_{chosen}.weight"):
        if name in weights:
            return weights.vector(name, half)[:half]
    return None


def blocks_for(tokens: int) -> int:
    """KV blocks that hold so many tokens."""
    return -(-tokens // BLOCK_SIZE)
