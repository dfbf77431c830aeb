"""Headers read in pieces: the same hyperparameters and tensors as those read whole, for a few hundred kilobytes."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import numpy as np
import pytest

from puna.errors import InvalidGGUF
from puna.gguf import GGMLType, GGUFWriter, open_model
from puna.gguf.skimming import MOST, skim
from tests.gguf import files


class Far:
    """A file that is elsewhere: counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.bytes_read = data, 0

    def read(self, start: int, end: int) -> bytes:
        self.bytes_read += end - start
        return self.data[start:end]


def vocabulary(path: Path, tokens: int, *, scores: bool, merges: bool, last: str = "u32") -> bytes:
    """A file with a vocabulary in front of its tensors, as converters write it."""
    rng = random.Random(tokens)
    letters = "abcdefghijklmnopqrstuvwxyz \u0120\u4e2d\u6587."
    pieces = ["".join(rng.choices(letters, k=rng.randint(1, 11))) for _ in range(tokens)]
    writer = GGUFWriter("llama")
    writer.add("llama.block_count", np.uint32(2))
    writer.add("tokenizer.ggml.model", "gpt2")
    writer.add("tokenizer.ggml.tokens", pieces)
    if scores:
        writer.add("tokenizer.ggml.scores", np.zeros(tokens, np.float32))
    writer.add("tokenizer.ggml.token_type", np.ones(tokens, np.int32))
    if merges:
        writer.add("tokenizer.ggml.merges", [f"{a} {b}" for a, b in zip(pieces, reversed(pieces), strict=True)] * 2)
    if last == "u32":
        writer.add("tokenizer.ggml.bos_token_id", np.uint32(0))
        writer.add("tokenizer.ggml.add_bos_token", False)
    elif last == "text":
        writer.add("tokenizer.chat_template", "{{ messages }}" * 8000)
    for name, rows in (("token_embd.weight", 64), ("blk.0.attn_q.weight", 32), ("blk.1.attn_q.weight", 32)):
        writer.add_tensor(name, (rows, 32), GGMLType.F32, np.zeros((rows, 32), np.float32))
    writer.write(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("tokens", "scores", "merges", "last"),
    [
        (20_000, True, True, "u32"),
        (40_000, False, True, "text"),
        (60_000, True, False, "u32"),
        (80_000, False, True, "nothing"),
        (150_000, False, True, "u32"),
    ],
)
def test_all_but_the_vocabulary_is_found(tmp_path: Path, tokens: int, scores: bool, merges: bool, last: str) -> None:
    data = vocabulary(tmp_path / "m.gguf", tokens, scores=scores, merges=merges, last=last)
    far = Far(data)
    found = skim([(far.read, len(data))], "far")
    with open_model(tmp_path / "m.gguf") as whole:
        assert {name: (t.shape, t.type) for name, t in found.tensors.items()} == {
            name: (t.shape, t.type) for name, t in whole.tensors.items()
        }
        short = [key for key, value in whole.metadata.items() if not hasattr(value, "__len__") or len(value) < 1000]
        assert {key: found.metadata[key] for key in short} == {key: whole.metadata[key] for key in short}
    assert far.bytes_read < 1_300_000 < MOST
    assert far.bytes_read < len(data) / 2 or tokens < 100_000


def test_what_is_no_model_is_said_to_be_none() -> None:
    for data in (b"", b"GG", b"<html>not found</html>" * 10, files.gguf()[:20]):
        with pytest.raises(InvalidGGUF):
            skim([(Far(data).read, len(data))], "far")


def test_a_damaged_header_is_an_error_and_not_endless(tmp_path: Path) -> None:
    data = bytearray(vocabulary(tmp_path / "m.gguf", 20_000, scores=True, merges=True))
    rng = random.Random(1)
    for _ in range(30):
        hurt = bytearray(data)
        at = rng.randrange(4, len(data) - 12_000)
        hurt[at : at + 8] = rng.randbytes(8)
        far = Far(bytes(hurt))
        with contextlib.suppress(InvalidGGUF):
            skim([(far.read, len(hurt))], "far")
        assert far.bytes_read <= MOST


def test_shards_are_one_model_and_others_are_not(tmp_path: Path) -> None:
    shards = []
    for number in range(2):
        writer = GGUFWriter("llama")
        writer.add("split.no", np.uint16(number))
        writer.add("split.count", np.uint16(2))
        writer.add_tensor(f"blk.{number}.attn_q.weight", (4, 32), GGMLType.F32, np.zeros((4, 32), np.float32))
        writer.write(tmp_path / f"{number}.gguf")
        data = (tmp_path / f"{number}.gguf").read_bytes()
        shards.append((Far(data).read, len(data)))
    assert set(skim(shards, "far").tensors) == {"blk.0.attn_q.weight", "blk.1.attn_q.weight"}
    with pytest.raises(InvalidGGUF, match="another's part"):
        skim(shards[::-1], "far")
