"""The loaded model: the same bits however the work is cut up, the same answer on every instruction set, and errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from puna import hardware, models, tokenizer
from puna.errors import InvalidGGUF, PunaError, UnsupportedModel
from puna.gguf import GGMLType, open_model
from puna.models import BLOCK_SIZE, Chunk, Model
from tests.models import tiny
from tests.models.running import Logits, loaded, write_gguf, write_random_llama
from tests.models.weight_types import FLOATS, QUANTIZED

LENGTH = 300  # of the prompt: past the 256 positions of one chunk of scores
BLOCKS = models.blocks_for(LENGTH)
POOL = 40  # KV blocks

Arrays = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def cria() -> Iterator[Path]:
    with as_file(files("puna") / "data" / "cria.gguf") as path:
        yield path


class Teams:
    """One model under teams of 1 to 4 threads, a prompt, and its logits from a fresh model in one step."""

    def __init__(self, path: Path, stack: ExitStack, kv_type: str) -> None:
        options: dict[str, Any] = {"tokens": POOL * BLOCK_SIZE, "kv_type": kv_type, "max_outputs": POOL * BLOCK_SIZE}
        with loaded(path, **options) as fresh:
            self.vocab_size = fresh.vocab_size
            self.prompt = self.tokens(LENGTH, seed=1)
            self.expected = fresh.forward([Chunk(self.prompt, 0, range(BLOCKS), LENGTH)]).copy()
        self.models = [stack.enter_context(loaded(path, threads=count, **options)) for count in (1, 2, 3, 4)]

    def tokens(self, count: int, *, seed: int) -> list[int]:
        return [int(token) for token in np.random.default_rng(seed).integers(0, self.vocab_size, count)]


@pytest.fixture(scope="module", params=["cria", *(kind.name for kind in FLOATS + QUANTIZED), "IQ3_S"])
def teams(request: pytest.FixtureRequest, cria: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teams]:
    """cria as it is, and a llama with grouped queries in every type (and one that is widened)."""
    path, kv_type = cria, "f16"
    if request.param != "cria":
        path = write_random_llama(tmp_path_factory.mktemp("model") / "model.gguf", GGMLType[request.param])
        kv_type = {"F32": "f32", "Q4_0": "f32", "Q8_0": "q8_0", "Q4_K": "q8_0"}.get(request.param, "f16")
    with ExitStack() as stack:
        yield Teams(path, stack, kv_type)


@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bit_depends_on_chunks_companions_threads_blocks_or_what_was_in_them(
    teams: Teams, data: st.DataObject
) -> None:
    model = teams.models[data.draw(st.integers(0, 3), label="team")]
    random = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed"))
    cuts = data.draw(st.lists(st.integers(1, LENGTH - 1), max_size=8, unique=True).map(sorted), label="cuts")
    companions = data.draw(st.integers(0, 3), label="companions")
    blocks = random.permutation(POOL).tolist()
    table, others = blocks[:BLOCKS], blocks[BLOCKS:]
    model.forward([Chunk(teams.tokens(BLOCKS * BLOCK_SIZE, seed=2), 0, table, 0)])  # leaves its keys and values there
    for start, end in zip([0, *cuts], [*cuts, LENGTH], strict=True):
        chunks = [_companion(teams, random, others, slot) for slot in range(companions)]
        outputs = int(random.integers(1, end - start + 1))
        chunks.insert(
            at := int(random.integers(0, companions + 1)), Chunk(teams.prompt[start:end], start, table, outputs)
        )
        before = sum(chunk.outputs for chunk in chunks[:at])
        rows = model.forward(chunks)[before : before + outputs]
        np.testing.assert_array_equal(rows, teams.expected[end - outputs : end])


def _companion(teams: Teams, random: np.random.Generator, blocks: Sequence[int], slot: int) -> Chunk:
    """Another sequence's chunk, in blocks of its own, somewhere in its life."""
    start, count = int(random.integers(0, 100)), int(random.integers(1, 60))
    mine = blocks[slot * 5 : slot * 5 + 5]
    return Chunk(teams.tokens(count, seed=int(random.integers(1000))), start, mine, int(random.integers(0, 2)))


def test_tokens_decoded_one_by_one_give_the_logits_of_the_whole_prompt(teams: Teams) -> None:
    table = list(reversed(range(BLOCKS)))
    for model in teams.models:
        model.forward([Chunk(teams.prompt[:250], 0, table, 0)])
        for at in range(250, 270):
            row = model.forward([Chunk([teams.prompt[at]], at, table, 1)])
            np.testing.assert_array_equal(row[0], teams.expected[at])


_GREEDY = """
import json, sys
from pathlib import Path
import numpy as np
from puna import models
from puna.gguf import open_model
prompt, table = json.loads(sys.argv[2]), range(8)
model = models.load(open_model(Path(sys.argv[1])), threads=2, num_blocks=8, max_outputs=len(prompt))
rows = model.forward([models.Chunk(prompt, 0, table, len(prompt))]).copy()
tokens = [int(rows[-1].argmax())]
while len(tokens) < 48 and tokens[-1] not in json.loads(sys.argv[4]):
    at = len(prompt) + len(tokens) - 1
    tokens.append(int(model.forward([models.Chunk(tokens[-1:], at, table, 1)])[0].argmax()))
np.save(sys.argv[3], rows)
print(json.dumps(tokens))
"""


def test_every_instruction_set_gives_the_same_greedy_answer_and_close_logits(cria: Path, tmp_path: Path) -> None:
    with open_model(cria) as file:
        tokens = tokenizer.load(file)
    text = "<|im_start|>user\nhello, who are you?<|im_end|>\n<|im_start|>assistant\n"
    prompt, ends = tokens.encode(text, parse_special=True), sorted(tokens.eog_ids)
    answers: list[list[int]] = []
    logits: list[Logits] = []
    for isa in hardware.supported_isas():
        arguments = [str(cria), json.dumps(prompt), str(tmp_path / "rows.npy"), json.dumps(ends)]
        command = [sys.executable, "-c", _GREEDY, *arguments]
        done = subprocess.run(command, env=os.environ | {"PUNA_ISA": isa}, capture_output=True, text=True, check=True)
        answers.append(json.loads(done.stdout))
        logits.append(np.load(tmp_path / "rows.npy").astype(np.float64))
    for isa, answer, rows in zip(hardware.supported_isas(), answers, logits, strict=True):
        assert answer == answers[0], isa
        cosine = (rows * logits[0]).sum() / np.linalg.norm(rows) / np.linalg.norm(logits[0])
        # Without fused multiply-adds a last bit differs, and may round an activation to the next of 255 integers.
        assert cosine > 0.9999, isa


def _remove(name: str) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        del arrays[name]

    return change


def _put(name: str, *shape: int) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = np.zeros(shape, np.float32)

    return change


def _nothing(_: Arrays) -> None:
    pass


BAD: list[tuple[str, Callable[[Arrays], None], dict[str, Any], type[PunaError], str]] = [
    ("missing tensor", _remove("blk.1.ffn_up.weight"), {}, InvalidGGUF, r"tensor 'blk.1.ffn_up.weight' is missing"),
    ("missing norm", _remove("output_norm.weight"), {}, InvalidGGUF, r"tensor 'output_norm.weight' is missing"),
    ("missing embedding", _remove("token_embd.weight"), {}, InvalidGGUF, r"'token_embd.weight' is missing"),
    ("other shape", _put("blk.0.attn_k.weight", 32, 128), {}, InvalidGGUF, r"attn_k.weight' is \(32, 128\), not \(64"),
    ("flat matrix", _put("blk.0.attn_q.weight", 128 * 128), {}, InvalidGGUF, r"attn_q.weight' is \(16384,\), not"),
    ("short bias", _put("blk.0.attn_q.bias", 64), {}, InvalidGGUF, r"attn_q.bias' is \(64,\), not \(128,\)"),
    ("extra tensor", _put("blk.0.attn_sinks.weight", 4), {}, UnsupportedModel, r"not know .*blk.0.attn_sinks.weight"),
    ("extra layer", _put("blk.3.attn_norm.weight", 128), {}, UnsupportedModel, r"not know .*blk.3.attn_norm.weight"),
    ("architecture", _nothing, {"general.architecture": "bloom"}, UnsupportedModel,
     r"'bloom' is not one of those that Puna runs \(bert, .*gpt2\): llama\.cpp may run it"),
    ("experts", _nothing, {"llama.expert_count": 8}, InvalidGGUF, r"expert_used_count: missing"),
    ("head of 24", _nothing, {"llama.attention.key_length": 24, "llama.rope.dimension_count": 24}, UnsupportedModel,
     r"heads of 24 .*not multiples of 16"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "metadata", "kind", "text"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_a_file_that_cannot_be_run_is_refused_with_its_reason_and_leaves_no_thread(
    change: Callable[[Arrays], None], metadata: dict[str, Any], kind: type[PunaError], text: str, tmp_path: Path
) -> None:
    with open_model(tiny.write_folder(tmp_path, "llama")) as folder:
        path = write_gguf(tmp_path / "bad.gguf", folder, GGMLType.F16, metadata=metadata, change=change)
    before = set(threading.enumerate())
    with open_model(path) as file, pytest.raises(kind, match=text) as caught:
        models.load(file, threads=3, num_blocks=2)
    assert str(path) in str(caught.value)
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def test_a_window_that_the_forward_pass_does_not_have_is_refused_and_not_ignored(tmp_path: Path) -> None:
    with open_model(tiny.write_folder(tmp_path, "granite")) as folder:
        metadata = {"granite.attention.sliding_window": 8}
        path = write_gguf(tmp_path / "bad.gguf", folder, GGMLType.F32, metadata=metadata)
    with open_model(path) as file, pytest.raises(UnsupportedModel, match="window, which granite is not known to have"):
        models.load(file, threads=1, num_blocks=2)


def test_learned_positions_are_all_that_there_are(tmp_path: Path) -> None:
    path = tiny.write_folder(tmp_path, "gpt2")  # with 96 positions
    with loaded(path, tokens=128, kv_type="f32") as model:
        assert model.context == 96
    with open_model(path) as file, pytest.raises(UnsupportedModel, match="97: the model has learned 96 positions"):
        models.load(file, threads=1, num_blocks=4, context=97)


@pytest.mark.parametrize(
    "options",
    [{"threads": 0}, {"num_blocks": 0}, {"max_outputs": 0}, {"kv_type": "q4_0"}, {"context": 0}, {"context": 65}],
    ids=str,
)
def test_load_refuses_arguments_that_make_no_sense(options: dict[str, Any], cria: Path) -> None:
    ((name, value),) = options.items()
    with open_model(cria) as file, pytest.raises(ValueError, match=f"{name}={value!r}"):
        models.load(file, **({"threads": 1, "num_blocks": 2} | options))


@pytest.fixture(scope="module")
def small(cria: Path) -> Iterator[Model]:
    """cria with room for 100 positions in 4 blocks."""
    with loaded(cria, tokens=128, context=100, max_outputs=2) as model:
        yield model


TABLE = [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([], "1 to 512 tokens, not 0"),
        ([Chunk([], 0, TABLE, 0)], "1 to 512 tokens, not 0"),
        ([Chunk([1] * 513, 0, TABLE, 0)], "1 to 512 tokens, not 513"),
        ([Chunk([5, 2048], 0, TABLE, 1)], "token ids run from 0 to 2047"),
        ([Chunk([5, -1], 0, TABLE, 1)], "token ids run from 0 to 2047"),
        ([Chunk([5], 100, TABLE, 1)], "positions 100 to 100: the model was loaded for 0 to 99"),
        ([Chunk([5] * 101, 0, TABLE, 1)], "positions 0 to 100: the model was loaded for 0 to 99"),
        ([Chunk([5], -1, TABLE, 1)], "positions -1 to -1: the model was loaded for 0 to 99"),
        ([Chunk([5], 32, [0], 1)], "does not cover positions 0 to 32"),
        ([Chunk([5], 0, [4], 1)], "blocks beyond the 4"),
        ([Chunk([5], 0, [-1], 1)], "blocks beyond the 4"),
        ([Chunk([5], 0, TABLE, 2)], "2 outputs of a chunk of 1 tokens"),
        ([Chunk([5], 0, TABLE, -1)], "-1 outputs"),
        ([Chunk([5], 0, [0], 1), Chunk([5] * 2, 0, [1], 2)], "3 outputs: the model was loaded for at most 2"),
    ],
)
def test_what_the_kernels_could_not_bear_is_a_value_error_and_harms_nothing(
    chunks: list[Chunk], text: str, small: Model
) -> None:
    good = [Chunk([1, 2, 3], 0, [2], 2)]
    before = small.forward(good).copy()
    with pytest.raises(ValueError, match=text):
        small.forward(chunks)
    np.testing.assert_array_equal(small.forward(good), before)


def test_a_step_without_outputs_gives_no_rows(small: Model) -> None:
    assert small.forward([Chunk([1, 2, 3], 0, [0], 0)]).shape == (0, small.vocab_size)


def test_the_last_position_loaded_can_be_used(small: Model) -> None:
    assert np.isfinite(small.forward([Chunk([5] * 100, 0, TABLE, 1)])).all()


@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "f32"])
def test_kv_blocks_can_be_read_out_and_written_back_elsewhere(cria: Path, kv_type: str) -> None:
    tokens = [int(token) for token in np.random.default_rng(3).integers(0, 2048, 70)]
    last, moved = [Chunk(tokens[-1:], 69, TABLE, 1)], [Chunk(tokens[-1:], 69, [3, 1, 0], 1)]
    with loaded(cria, tokens=128, kv_type=kv_type) as model:
        expected = model.forward([Chunk(tokens, 0, TABLE, 1)]).copy()
        blocks = [model.read_kv_block(index) for index in range(3)]
        assert all(block.nbytes == model.kv_block_bytes for block in blocks)
        with pytest.raises(ValueError, match=f"are not a KV block of this model, which has {model.kv_block_bytes}"):
            model.write_kv_block(0, blocks[0][1:])
        model.forward([Chunk(tokens[::-1], 0, TABLE, 0)])
        assert not np.array_equal(model.forward(last), expected)
        for index, block in zip([3, 1, 0], blocks, strict=True):
            model.write_kv_block(index, block.tobytes())
        np.testing.assert_array_equal(model.forward(moved), expected)


def test_a_q8_0_cache_stays_close_to_f16(cria: Path) -> None:
    tokens = [int(token) for token in np.random.default_rng(4).integers(0, 2048, 300)]
    found = {}
    for kv_type in ("f16", "q8_0"):
        with loaded(cria, tokens=320, kv_type=kv_type, max_outputs=300) as model:
            found[kv_type] = model.forward([Chunk(tokens, 0, range(10), 300)]).astype(np.float64)
    a, b = found["f16"], found["q8_0"]
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert 0.999 < cosines.min() < 1 - 1e-9  # and the option does something
    shift = np.log(np.exp(a - a.max(1, keepdims=True)).sum(1)) + a.max(1)
    other = np.log(np.exp(b - b.max(1, keepdims=True)).sum(1)) + b.max(1)
    divergence = (np.exp(a - shift[:, None]) * (a - shift[:, None] - b + other[:, None])).sum(1)
    assert divergence.mean() < 1e-3


def test_a_q8_0_cache_refuses_heads_that_its_scales_do_not_divide(tmp_path: Path) -> None:
    path = tiny.write_folder(tmp_path, "llama_tied")  # heads of 16
    with open_model(path) as file, pytest.raises(UnsupportedModel, match=r"multiples of 32, not 16 .*: use f16"):
        models.load(file, threads=1, num_blocks=1, kv_type="q8_0")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_kv_blocks_take_memory_only_when_they_are_used(cria: Path) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with loaded(cria, tokens=64) as model:
        model.forward([Chunk([5] * 64, 0, range(2), 1)])
        before = resident()
    many = (4 << 30) // model.kv_block_bytes
    with loaded(cria, tokens=many * BLOCK_SIZE) as model:
        model.forward([Chunk([5] * 64, 0, range(many - 2, many), 1)])
        assert resident() - before < 64 << 20  # of the 4 GiB that the blocks would take


def test_a_sequence_of_nan_leaves_nothing_in_its_blocks_that_could_reach_another(tmp_path: Path) -> None:
    weights = tiny.weights("llama")
    weights["model.embed_tokens.weight"][7] = np.nan
    table = range(2)
    good = Chunk([1, 2, 3], 0, table, 1)
    with loaded(tiny.write_folder(tmp_path, "llama", tensors=weights), tokens=64) as model:
        before = model.forward([good]).copy()
        assert np.isnan(model.forward([Chunk([7] * 64, 0, table, 1)])).all()
        np.testing.assert_array_equal(model.forward([good]), before)
