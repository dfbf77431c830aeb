"""Raw GGUF files, put together byte by byte so that they can also lie."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from puna.gguf.types import GGMLType, ValueType


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def key(name: str | bytes, kind: int, value: bytes) -> bytes:
    return string(name) + struct.pack("<I", kind) + value


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def text_key(name: str, text: str | bytes) -> bytes:
    return key(name, ValueType.STRING, string(text))


def u32_key(name: str, number: int) -> bytes:
    return key(name, ValueType.UINT32, u32(number))


def array_key(name: str, item: int, count: int, items: bytes) -> bytes:
    return key(name, ValueType.ARRAY, struct.pack("<IQ", item, count) + items)


def tensor_info(name: str | bytes, dims: Sequence[int], kind: int, offset: int, count: int | None = None) -> bytes:
    sizes = struct.pack(f"<{len(dims)}Q", *dims)
    return string(name) + u32(len(dims) if count is None else count) + sizes + struct.pack("<IQ", kind, offset)


def gguf(
    keys: Sequence[bytes] = (),
    infos: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    magic: bytes = b"GGUF",
    key_count: int | None = None,
    tensor_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    counts = (
        len(infos) if tensor_count is None else tensor_count,
        len(keys) if key_count is None else key_count,
    )
    head = magic + struct.pack("<IQQ", version, *counts) + b"".join(keys) + b"".join(infos)
    return head + bytes(-len(head) % alignment) + data


def valid() -> bytes:
    """A small file with something of every kind."""
    keys = [
        text_key("general.architecture", "llama"),
        u32_key("general.alignment", 32),
        u32_key("llama.block_count", 1),
        key("a.bool", ValueType.BOOL, b"\1"),
        key("a.float", ValueType.FLOAT64, struct.pack("<d", 0.1)),
        array_key("tokenizer.ggml.tokens", ValueType.STRING, 3, string("a") + string("é") + string("")),
        array_key("an.array", ValueType.INT16, 3, struct.pack("<3h", -1, 0, 1)),
        array_key(
            "nested",
            ValueType.ARRAY,
            2,
            struct.pack("<IQI", ValueType.UINT32, 1, 7) + struct.pack("<IQ", 8, 0),
        ),
    ]
    infos = [
        tensor_info("token_embd.weight", (32, 3), GGMLType.Q8_0, 0),
        tensor_info("output_norm.weight", (5,), GGMLType.F32, 128),
    ]
    quantised = bytes(range(102)) + bytes(26)
    return gguf(keys, infos, quantised + np.arange(5, dtype=np.float32).tobytes())
