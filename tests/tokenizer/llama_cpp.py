"""llama.cpp's own tokenizer as an oracle: a tiny model file that carries a vocabulary, served by xllamacpp.

Knows how to write such a file and to ask the server; nothing of Puna's tokenizer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import xllamacpp

import gguf

WIDTH = 32  # embedding length: the least that the architecture's checks accept


class LlamaCpp:
    """A running llama.cpp server of one vocabulary."""

    def __init__(self, socket: Path) -> None:
        self._client = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://llama", timeout=60)

    def encode(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        body = {"content": text, "add_special": add_special, "parse_special": parse_special}
        reply = self._client.post("/tokenize", json=body)
        reply.raise_for_status()
        return list(reply.json()["tokens"])

    def close(self) -> None:
        self._client.close()


@contextmanager
def llama_cpp(metadata: Mapping[str, Any]) -> Iterator[LlamaCpp]:
    """llama.cpp with the vocabulary that these `tokenizer.*` keys describe."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        write_model(path, metadata)
        server = xllamacpp.Server(_parameters(path, Path(folder) / "llama.sock"))
        client = LlamaCpp(Path(folder) / "llama.sock")
        try:
            yield client
        finally:
            client.close()
            del server


def _parameters(path: Path, socket: Path) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = 64
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.warmup = False
    parameters.hostnames = [str(socket)]
    parameters.verbosity = -1
    return parameters


def write_model(path: Path, metadata: Mapping[str, Any]) -> None:
    """A llama of one layer, all zeros, with that vocabulary."""
    count = len(metadata["tokenizer.ggml.tokens"])
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(count)
    for key, value in metadata.items():
        if (key.startswith("tokenizer.") or key == "general.name") and key != "tokenizer.chat_template":
            _add_value(writer, key, value)
    for name, shape in _shapes(count).items():
        writer.add_tensor(name, np.zeros(shape, np.float32 if len(shape) == 1 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _shapes(count: int) -> dict[str, tuple[int, ...]]:
    square = (WIDTH, WIDTH)
    block = {f"blk.0.{name}.weight": square for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    block |= {f"blk.0.ffn_{name}.weight": square for name in ("gate", "up", "down")}
    norms: dict[str, tuple[int, ...]] = {"blk.0.attn_norm.weight": (WIDTH,), "blk.0.ffn_norm.weight": (WIDTH,)}
    return {"token_embd.weight": (count, WIDTH), "output_norm.weight": (WIDTH,), **norms, **block}


def _add_value(writer: Any, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif key.endswith("precompiled_charsmap"):
        writer.add_array(key, bytes(value))
    else:
        writer.add_array(key, list(value))
