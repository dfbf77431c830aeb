"""What the tests of the command line share: an environment of their own, and a model that talks without end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from puna import kernels, paths
from puna.gguf import GGMLType, GGUFWriter, open_model

WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS = 512, 1536, 4, 8, 2


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model store, state or server of the user's; compiled kernels are shared, since they are always the same."""
    cache = paths.cache_dir()
    for name in [name for name in os.environ if name.startswith(("PUNA_", "OLLAMA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PUNA_CACHE", str(cache))
    monkeypatch.setenv("PUNA_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("PUNA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PUNA_HOST", "127.0.0.1:9")  # the discard port: no server of ours
    monkeypatch.setenv("PUNA_THREADS", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels() -> None:
    """So that no test waits for the compiler."""
    kernels.load()


@pytest.fixture(scope="session")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, slow enough to be interrupted. At temperature 0 it never ends: end tokens have logit 0."""
    path = tmp_path_factory.mktemp("models") / "endless.gguf"
    cria = open_model(Path(str(files("puna") / "data" / "cria.gguf")))
    tokens = cria.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, Sequence)
    words = [str(token) for token in tokens]
    writer = GGUFWriter("llama")
    for key, value in cria.metadata.items():
        if key.startswith("tokenizer."):
            writer.add(key, value)
    cria.close()
    for key, number in {
        "context_length": 8192,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": HIDDEN,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "vocab_size": len(words),
    }.items():
        writer.add(f"llama.{key}", np.uint32(number))
    writer.add("llama.attention.layer_norm_rms_epsilon", np.float32(1e-5))
    rng = np.random.default_rng(1)
    for name, shape in _tensors(len(words)).items():
        writer.add_tensor(name, shape, GGMLType.F32, _values(rng, name, shape, words))
    writer.write(path)
    return path


def _tensors(vocabulary: int) -> dict[str, tuple[int, ...]]:
    head = WIDTH // HEADS
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm": (WIDTH,),
        "attn_q": (WIDTH, WIDTH),
        "attn_k": (KV_HEADS * head, WIDTH),
        "attn_v": (KV_HEADS * head, WIDTH),
        "attn_output": (WIDTH, WIDTH),
        "ffn_norm": (WIDTH,),
        "ffn_gate": (HIDDEN, WIDTH),
        "ffn_up": (HIDDEN, WIDTH),
        "ffn_down": (WIDTH, HIDDEN),
    }
    ends: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (vocabulary, WIDTH),
    }
    return ends | {f"blk.{i}.{name}.weight": shape for i in range(LAYERS) for name, shape in layer.items()}


def _values(rng: np.random.Generator, name: str, shape: tuple[int, ...], words: Sequence[str]) -> NDArray[np.float32]:
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    values = rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(WIDTH))
    if name == "output.weight":
        values[[i for i, word in enumerate(words) if not word.isalpha()]] = 0
    return values
