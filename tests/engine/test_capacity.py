"""How much KV memory an engine gets: what is asked for, more where memory allows, never beyond the trained context."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from puna import hardware
from puna.engine.capacity import block_bytes, capacity
from puna.gguf import ModelConfig, open_model
from puna.hardware import Memory

GB = 10**9


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    """Llama 3.1 8B, as far as its KV cache goes: 128 KiB a token in f16."""
    with as_file(files("puna") / "data" / "cria.gguf") as path, open_model(path) as file:
        cria = ModelConfig.from_model(file)
    return replace(cria, context_length=131072, block_count=32, head_count_kv=8, key_length=128, value_length=128)


def with_memory(monkeypatch: pytest.MonkeyPatch, total: int, available: int) -> None:
    monkeypatch.setattr(hardware, "memory", lambda: Memory(total, available))


def test_a_block_is_as_large_as_the_formula_says(config: ModelConfig) -> None:
    assert block_bytes(config, "f16") == 32 * 32 * 8 * (128 + 128) * 2 == 32 * 131072


def test_a_quarter_of_the_memory_at_most(monkeypatch: pytest.MonkeyPatch, config: ModelConfig) -> None:
    with_memory(monkeypatch, 16 * GB, 15 * GB)
    room = capacity(config, "f16", context=8192, max_sequences=8, weights=5 * GB)
    assert 3.9 * GB < room.num_blocks * block_bytes(config, "f16") <= 4 * GB
    assert room.context == room.num_blocks * 32


def test_half_of_what_the_weights_leave_at_most(monkeypatch: pytest.MonkeyPatch, config: ModelConfig) -> None:
    with_memory(monkeypatch, 16 * GB, 10 * GB)
    room = capacity(config, "f16", context=4096, max_sequences=8, weights=6 * GB)
    assert 1.9 * GB < room.num_blocks * block_bytes(config, "f16") <= 2 * GB


def test_what_is_asked_for_at_least(monkeypatch: pytest.MonkeyPatch, config: ModelConfig) -> None:
    with_memory(monkeypatch, 4 * GB, GB)
    room = capacity(config, "f16", context=8192, max_sequences=8, weights=5 * GB)
    assert (room.context, room.num_blocks) == (8192, 256)


def test_the_trained_context_for_each_sequence_at_most(monkeypatch: pytest.MonkeyPatch, config: ModelConfig) -> None:
    with_memory(monkeypatch, 1000 * GB, 1000 * GB)
    short = replace(config, context_length=2048)
    room = capacity(short, "f16", context=512, max_sequences=8, weights=5 * GB)
    assert (room.context, room.num_blocks) == (2048, 8 * 64)
    assert capacity(short, "f16", context=4096, max_sequences=1, weights=0).context == 4096, "it was asked for"


def test_a_container_has_less_than_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = hardware.memory()
    monkeypatch.setattr(hardware, "_CONTROL_GROUP", tmp_path)
    assert hardware.memory().total == machine.total, "no control group: the machine's own"
    for name, value in (("max", "1000000"), ("current", "700000"), ("stat", "anon 1\ninactive_file 100000\n")):
        (tmp_path / f"memory.{name}").write_text(value)
    assert hardware.memory() == Memory(1_000_000, 400_000)
    (tmp_path / "memory.max").write_text("max")
    assert hardware.memory().total == machine.total
