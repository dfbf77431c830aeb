"""A cached prefix gives the same bits as a computed one, on a real model: in memory, from disk, evicted, shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from puna import models
from puna.engine.engine import Engine
from puna.engine.prefix_store import PrefixStore
from puna.engine.types import CacheReceipt, FinishedEvent, GenerationRequest, SamplingParams
from puna.gguf import open_model
from puna.models import Chunk

BLOCKS = 24
CONTEXT = 512
PROMPT = tuple(np.random.default_rng(0).integers(3, 2000, 300).tolist())
ANSWER = 6


class Recording:
    """A model whose logits are kept."""

    def __init__(self, model: models.Model) -> None:
        self.vocab_size, self.max_tokens, self.max_outputs = model.vocab_size, model.max_tokens, model.max_outputs
        self.num_blocks, self.kv_block_bytes, self.warnings = model.num_blocks, model.kv_block_bytes, model.warnings
        self.read_kv_block, self.write_kv_block = model.read_kv_block, model.write_kv_block
        self.causal, self.pooling, self.states = model.causal, model.pooling, model.states
        self.adapters = model.adapters
        self._model = model
        self.rows: list[NDArray[np.float32]] = []
        self.computed = 0

    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        logits = self._model.forward(chunks)
        self.rows += [row.copy() for row in logits]
        self.computed += sum(len(chunk.tokens) for chunk in chunks)
        return logits


@pytest.fixture(scope="module")
def model() -> Iterator[models.Model]:
    with as_file(files("puna") / "data" / "cria.gguf") as path:
        loaded = models.load(open_model(path), threads=2, num_blocks=BLOCKS, max_outputs=4)
        yield loaded
        loaded.close()


@pytest.fixture
def recording(model: models.Model) -> Recording:
    return Recording(model)


def engine(recording: Recording, store: PrefixStore | None = None) -> Engine:
    return Engine(recording, context=CONTEXT, max_sequences=4, prefix_store=store)


def ask(machine: Engine, *prompts: tuple[int, ...], max_tokens: int = ANSWER) -> list[CacheReceipt]:
    """Answer the prompts together."""
    for i, prompt in enumerate(prompts):
        sampling = SamplingParams(temperature=0)
        machine.add(GenerationRequest(f"r{i}", prompt, max_tokens, sampling=sampling, draft_tokens=0))
    ends: list[FinishedEvent] = []
    while machine.has_work:
        ends += [event for event in machine.step() if isinstance(event, FinishedEvent)]
        machine.scheduler.check()
    return [end.usage.cache for end in sorted(ends, key=lambda end: end.id)]


@pytest.fixture(scope="module")
def expected(model: models.Model) -> NDArray[np.float32]:
    """The logits of the prompt's answer, nothing cached."""
    recording = Recording(model)
    ask(engine(recording), PROMPT)
    return np.array(recording.rows)


def assert_same_bits(recording: Recording, expected: NDArray[np.float32]) -> None:
    assert np.array(recording.rows[-ANSWER:]).tobytes() == expected.tobytes()


def test_cached_in_memory(recording: Recording, expected: NDArray[np.float32]) -> None:
    machine = engine(recording)
    ask(machine, PROMPT[:200])
    before = recording.computed
    (receipt,) = ask(machine, PROMPT)
    assert receipt.cached_tokens == 192
    assert recording.computed - before == 300 - 192 + ANSWER - 1
    assert_same_bits(recording, expected)


def test_cached_on_disk(recording: Recording, expected: NDArray[np.float32], tmp_path: Path) -> None:
    receipts = []
    for prompt in (PROMPT[:200], PROMPT, PROMPT):
        store = PrefixStore(tmp_path, "cria", block_bytes=recording.kv_block_bytes, budget=10**9)
        machine = engine(recording, store)
        receipts += ask(machine, prompt)
        machine.close(30)
    assert [receipt.disk_tokens for receipt in receipts] == [0, 192, 288]
    assert_same_bits(recording, expected)


def test_evicted_and_computed_again(recording: Recording, expected: NDArray[np.float32]) -> None:
    machine = engine(recording)
    ask(machine, PROMPT)
    ask(machine, tuple(reversed(PROMPT)) + PROMPT[:190])
    (receipt,) = ask(machine, PROMPT)
    assert receipt.reason.startswith("evicted")
    assert_same_bits(recording, expected)


def test_shared_by_two_that_run_together(recording: Recording, expected: NDArray[np.float32]) -> None:
    machine = engine(recording)
    ask(machine, PROMPT[:290], max_tokens=0)
    receipts = ask(machine, PROMPT, (*PROMPT[:290], 5, 6, 7))
    assert [receipt.cached_tokens for receipt in receipts] == [288, 288]
    assert np.array(recording.rows[-2 * ANSWER :: 2]).tobytes() == expected.tobytes()
