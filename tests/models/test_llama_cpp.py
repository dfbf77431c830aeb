"""Greedy decoding against llama.cpp (xllamacpp): 200 tokens of 20 prompts on the same GGUF.

llama.cpp goes first; our model then sees the same tokens and must choose the same one at each place. Where it
chooses another, the two engines must differ no more than they do elsewhere, which is by quantisation: they round
activations (int8 in blocks of 32, with scales of 32 and 16 bits), keys and values differently. How large that noise
is, our own float32 path tells, which is held against transformers in `test_oracle.py`: run on the same weights,
dequantised, it says how far each of the two is from exact arithmetic, and we must not be the farther one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import pytest
import xllamacpp
from numpy.typing import NDArray

from puna.gguf import GGMLType, GGUFWriter, open_model, quantize
from puna.models import Model
from puna.tokenizer import load as load_tokenizer
from tests.models.running import loaded, logits, write_gguf

STEPS, TOP = 200, 10
VOCAB = 2048  # cria's
FORBIDDEN = (0, 1, 2)  # cria's end of text and turn marks, which would end llama.cpp's answer

QUESTIONS = (
    "Hello!", "Who are you?", "你会说中文吗", "你好", "What is Puna?", "How large are you?", "Which models can I run?",
    "How do I list the models?", "怎么停止一个模型?", "谢谢", "Good morning", "What is the capital of France?",
    "Tell me a story.", "再见", "puna serve", "Where are models kept?", "What can you not do?", "1 + 1 = ?", "😀",
    "Why?",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """llama.cpp's greedy tokens, and for each the log-probabilities of the TOP likeliest, by id."""

    prompt: list[int]
    tokens: list[int]
    top: list[dict[int, float]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The leads of llama.cpp's first choice over its second, and over ours where we choose another token.

    A lead is a difference of log-probabilities; float64, one for each of llama.cpp's tokens.
    """

    theirs: NDArray[np.float64]
    ours: NDArray[np.float64]
    exact: NDArray[np.float64]
    parted: NDArray[np.bool_]

    @property
    def apart(self) -> NDArray[np.float64]:
        """By how much the engines differ."""
        return np.abs(self.theirs - self.ours)


@pytest.fixture(scope="module")
def cria() -> Iterator[Path]:
    with as_file(files("puna") / "data" / "cria.gguf") as path:
        yield path


def _llama_cpp(path: Path, prompts: list[list[int]]) -> list[Answer]:
    with TemporaryDirectory() as folder:
        socket = f"{folder}/llama.sock"
        parameters = xllamacpp.CommonParams()
        parameters.model.path, parameters.hostnames = str(path), [socket]
        parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 512, 1, 1
        parameters.warmup, parameters.verbosity = False, -1
        server = xllamacpp.Server(parameters)
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://llama", timeout=60) as client:
            answers = [_answer(client, prompt) for prompt in prompts]
        del server
    return answers


def _answer(client: httpx.Client, prompt: list[int]) -> Answer:
    body = {"prompt": prompt, "n_predict": STEPS, "temperature": 0, "n_probs": TOP, "cache_prompt": False}
    body |= {"return_tokens": True, "ignore_eos": True, "logit_bias": [[token, False] for token in FORBIDDEN]}
    reply = client.post("/completion", json=body).raise_for_status().json()
    shown = reply["completion_probabilities"]
    assert [token["id"] for token in shown] == reply["tokens"]  # false where a token is part of a character
    top = [{entry["id"]: entry["logprob"] for entry in token["top_logprobs"]} for token in shown]
    return Answer(prompt, reply["tokens"], top)


def _compare(path: Path, answers: list[Answer]) -> Comparison:
    with open_model(path) as file:
        in_f32 = write_gguf(path.with_name("exact.gguf"), file, GGMLType.F32)
    leads: list[tuple[float, float, float, bool]] = []
    with loaded(path, tokens=512, max_outputs=64) as model, loaded(in_f32, tokens=512, kv_type="f32") as exact:
        for answer in answers:
            leads += _leads(answer, _logits(model, answer), _logits(exact, answer))
    theirs, ours, truth, parted = zip(*leads, strict=True)
    return Comparison(np.array(theirs), np.array(ours), np.array(truth), np.array(parted))


def _logits(model: Model, answer: Answer) -> NDArray[np.float32]:
    """Ours before each of llama.cpp's tokens: (STEPS, VOCAB)."""
    return logits(model, [*answer.prompt, *answer.tokens[:-1]], first=len(answer.prompt) - 1)


def _leads(
    answer: Answer, ours: NDArray[np.float32], exact: NDArray[np.float32]
) -> Iterator[tuple[float, float, float, bool]]:
    allowed = ours.copy()
    allowed[:, FORBIDDEN] = -np.inf
    for step, (token, top) in enumerate(zip(answer.tokens, answer.top, strict=True)):
        choice = int(allowed[step].argmax())
        second = max((t for t in top if t != token and t not in FORBIDDEN), key=top.__getitem__)
        rival = second if choice == token else choice
        assert rival in top, f"we choose {choice}, which is not among llama.cpp's {TOP} likeliest"
        lead = [float(row[step][token]) - float(row[step][rival]) for row in (ours, exact)]
        yield top[token] - top[rival], lead[0], lead[1], choice != token


def _check(path: Path, prompts: list[list[int]], *, noise: float) -> None:
    """noise: the most that 99 % of the leads may differ between the engines, where they agree."""
    answers = _llama_cpp(path, prompts)
    assert [len(answer.tokens) for answer in answers] == [STEPS] * len(prompts)
    found = _compare(path, answers)
    agreed, parted = found.apart[~found.parted], found.apart[found.parted]
    our_error, their_error = np.median(np.abs([found.ours - found.exact, found.theirs - found.exact]), axis=1)
    print(
        f"\n{path.name}: {len(parted)} of {len(found.parted)} tokens part; leads differ by {np.median(agreed):.4f} "
        f"(median), {np.quantile(agreed, 0.99):.4f} (99 %), where they part by {parted.max(initial=0):.4f} at most; "
        f"median error of ours {our_error:.4f}, of llama.cpp's {their_error:.4f}; equal answers: "
        f"{sum(not row.any() for row in found.parted.reshape(-1, STEPS))} of {len(prompts)}"
    )
    assert np.quantile(agreed, 0.99) < noise
    # Where they part, theirs leads and ours trails: each alone is less than the difference, and so a near tie.
    assert parted.max(initial=0) <= agreed.max()
    assert our_error < 1.1 * their_error + 1e-5
    assert found.parted.mean() < 0.06  # near ties are rare


def test_cria_answers_as_in_llama_cpp(cria: Path, tmp_path: Path) -> None:
    path = tmp_path / "cria.gguf"
    with open_model(cria) as file:
        tokenizer = load_tokenizer(file)
        writer = GGUFWriter()
        for key, value in (dict(file.metadata) | _vocabulary()).items():
            writer.add(key, value)
        for tensor in file.tensors.values():
            writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.data)
        writer.write(path)
    turns = [f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n" for question in QUESTIONS]
    _check(path, [tokenizer.encode(turn, parse_special=True) for turn in turns], noise=0.25)


@pytest.mark.parametrize(("kind", "noise"), [(GGMLType.F16, 0.02), (GGMLType.Q8_0, 0.12), (GGMLType.Q4_0, 0.12)])
def test_a_random_llama_decodes_as_in_llama_cpp(kind: GGMLType, noise: float, tmp_path: Path) -> None:
    path = tmp_path / f"{kind.name}.gguf"
    _write_random_llama(path, kind)
    random = np.random.default_rng(7)
    prompts = [random.integers(3, VOCAB, random.integers(1, 40)).tolist() for _ in QUESTIONS]
    _check(path, prompts, noise=noise)


def _vocabulary() -> dict[str, Any]:
    """Tokens of whole letters: of one that is part of a character llama.cpp's server keeps the log-probability back."""
    tokens = [f"t{token}" for token in range(VOCAB)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.ones(VOCAB, np.int32),
        "tokenizer.ggml.merges": ["t 0"],
        "tokenizer.ggml.eos_token_id": 2,
    }


def _write_random_llama(path: Path, kind: GGMLType) -> None:
    """Grouped queries, untied, another rope base than the usual."""
    hidden, feed, layers, heads, kv_heads, head = 128, 320, 2, 4, 2, 32
    writer = GGUFWriter("llama")
    sizes = {"context_length": 512, "embedding_length": hidden, "feed_forward_length": feed, "block_count": layers}
    sizes |= {"attention.head_count": heads, "attention.head_count_kv": kv_heads, "rope.dimension_count": head}
    for key, value in sizes.items():
        writer.add(f"llama.{key}", value)
    writer.add("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add("llama.rope.freq_base", 50000.0)
    for key, entry in _vocabulary().items():
        writer.add(key, entry)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("token_embd.weight", "output.weight"), (VOCAB, hidden))
    shapes["output_norm.weight"] = (hidden,)
    for layer in range(layers):
        parts = {"attn_q": (heads * head, hidden), "attn_k": (kv_heads * head, hidden)}
        parts |= {"attn_v": (kv_heads * head, hidden), "attn_output": (hidden, heads * head)}
        parts |= {"ffn_gate": (feed, hidden), "ffn_up": (feed, hidden), "ffn_down": (hidden, feed)}
        shapes |= {f"blk.{layer}.{part}.weight": shape for part, shape in parts.items()}
        shapes |= {f"blk.{layer}.{part}_norm.weight": (hidden,) for part in ("attn", "ffn")}
    random = np.random.default_rng(11)
    for name, shape in shapes.items():
        array = random.standard_normal(shape) / np.sqrt(shape[-1]) if len(shape) == 2 else np.ones(shape)
        stored = kind if len(shape) == 2 else GGMLType.F32
        writer.add_tensor(name, shape, stored, quantize(array.astype(np.float32), stored))
    writer.write(path)
