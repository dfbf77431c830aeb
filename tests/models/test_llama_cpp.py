"""Greedy decoding against llama.cpp (xllamacpp) on the same GGUF, in every type.

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

import httpx
import numpy as np
import pytest
import xllamacpp
from numpy.typing import NDArray

from puna.gguf import GGMLType, GGUFWriter, open_model
from puna.models import Model
from puna.tokenizer import load as load_tokenizer
from tests.models.running import VOCAB, loaded, logits, placeholder_vocabulary, write_gguf, write_random_llama
from tests.models.weight_types import ALL, FLOATS, QUANTIZED

TOP = 10
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


def _llama_cpp(path: Path, prompts: list[list[int]], steps: int) -> list[Answer]:
    with TemporaryDirectory() as folder:
        socket = f"{folder}/llama.sock"
        parameters = xllamacpp.CommonParams()
        parameters.model.path, parameters.hostnames = str(path), [socket]
        parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 512, 1, 1
        parameters.warmup, parameters.verbosity = False, -1
        server = xllamacpp.Server(parameters)
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://llama", timeout=60) as client:
            answers = [_answer(client, prompt, steps) for prompt in prompts]
        del server
    return answers


def _answer(client: httpx.Client, prompt: list[int], steps: int) -> Answer:
    body = {"prompt": prompt, "n_predict": steps, "temperature": 0, "n_probs": TOP, "cache_prompt": False}
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
    """Ours before each of llama.cpp's tokens: (steps, VOCAB)."""
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


def _check(path: Path, prompts: list[list[int]], *, steps: int, noise: float, ties: float) -> None:
    """noise: the most that 99 % of the leads may differ between the engines, where they agree.

    ties: the largest share of tokens of which another is chosen, there being two that are as likely.
    """
    answers = _llama_cpp(path, prompts, steps)
    assert [len(answer.tokens) for answer in answers] == [steps] * len(prompts)
    found = _compare(path, answers)
    agreed, parted = found.apart[~found.parted], found.apart[found.parted]
    our_error, their_error = np.median(np.abs([found.ours - found.exact, found.theirs - found.exact]), axis=1)
    print(
        f"\n{path.name}: {len(parted)} of {len(found.parted)} tokens part; leads differ by {np.median(agreed):.4f} "
        f"(median), {np.quantile(agreed, 0.99):.4f} (99 %), where they part by {parted.max(initial=0):.4f} at most; "
        f"median error of ours {our_error:.4f}, of llama.cpp's {their_error:.4f}; equal answers: "
        f"{sum(not row.any() for row in found.parted.reshape(-1, steps))} of {len(prompts)}"
    )
    assert np.quantile(agreed, 0.99) < noise
    # Where they part, theirs leads and ours trails: each alone is less than the difference, and so a near tie.
    assert parted.max(initial=0) <= 1.5 * agreed.max()
    assert our_error < 1.25 * their_error + 1e-5
    assert found.parted.mean() < ties


def _questions(cria: Path) -> list[list[int]]:
    with open_model(cria) as file:
        tokenizer = load_tokenizer(file)
    turns = [f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n" for question in QUESTIONS]
    return [tokenizer.encode(turn, parse_special=True) for turn in turns]


def test_cria_answers_as_in_llama_cpp(cria: Path, tmp_path: Path) -> None:
    path = tmp_path / "cria.gguf"
    with open_model(cria) as file:
        writer = GGUFWriter()
        for key, value in (dict(file.metadata) | placeholder_vocabulary()).items():
            writer.add(key, value)
        for tensor in file.tensors.values():
            writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.data)
        writer.write(path)
    _check(path, _questions(cria), steps=200, noise=0.25, ties=0.06)


@pytest.mark.parametrize("kind", QUANTIZED, ids=lambda kind: kind.name)
def test_cria_answers_as_in_llama_cpp_in_every_type(kind: GGMLType, cria: Path, tmp_path: Path) -> None:
    with open_model(cria) as file:
        path = write_gguf(tmp_path / f"{kind.name}.gguf", file, kind, metadata=placeholder_vocabulary())
    _check(path, _questions(cria)[::2], steps=50, noise=0.4, ties=0.06)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_a_random_llama_decodes_as_in_llama_cpp(kind: GGMLType, tmp_path: Path) -> None:
    path = write_random_llama(tmp_path / f"{kind.name}.gguf", kind)
    random = np.random.default_rng(7)
    prompts = [random.integers(3, VOCAB, random.integers(1, 40)).tolist() for _ in QUESTIONS[::2]]
    _check(path, prompts, steps=80, noise=0.04 if kind in FLOATS else 0.15, ties=0.15)
