"""How far a tiny model of an architecture agrees with the oracles, on every way from a Hugging Face folder to logits.

Used by the tests, and by `scripts/architecture_docs.py`, which prints what it finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import xllamacpp

from puna.conversion import import_folder
from puna.gguf import GGMLType, open_model
from puna.models import Chunk, Model, blocks_for
from tests.conversion.folders import tiny_model
from tests.models import mixtures, tiny
from tests.models.running import Logits, loaded, logits, write_gguf
from tests.models.test_oracle import cosine, error, golden

CONTEXT = 128  # positions that both engines are loaded for
STEPS = 16  # tokens of an answer
PROMPTS = (1, 7, 40)  # their lengths
FORBIDDEN = (0, 1, 2)  # the vocabulary's special tokens

# What llama.cpp cannot be asked: it has no dynamic NTK, and EXAONE 4's window only in a model of 64 layers; of the
# others `test_mixtures` tells in what they differ, and asks without it.
UNKNOWN_TO_LLAMA_CPP = frozenset(("llama_dynamic", "exaone4_window", "deepseek_v2_lite", "deepseek_v2", "gpt_oss"))


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was found."""

    architecture: str
    error: float  # the largest of a logit against transformers', over the range of the logits; in F32
    imported_alike: bool  # the imported GGUF gives the folder's logits bit for bit, in other steps and by two threads
    cosine: float  # of the logits in Q8_0 with transformers' in F32
    chosen: int  # greedy tokens
    alike: int | None  # of them those that llama.cpp chooses too; None where it does not know the model


def measure(name: str, folder: Path) -> Agreement:
    """Of one of `tiny.CONFIGS` or `mixtures.CONFIGS`; writes files into the folder."""
    source, path = tiny_model(folder / "source", name), folder / "model.gguf"
    import_folder(source, path)
    with open_model(path) as file:
        architecture = str(file.metadata["general.architecture"])
        q8_0 = write_gguf(folder / "q8_0.gguf", file, GGMLType.Q8_0)
    ours, imported = _logits(source, name), _logits(path, name, threads=2, max_outputs=7)
    chosen = alike = 0
    if name not in UNKNOWN_TO_LLAMA_CPP:
        with loaded(path, tokens=CONTEXT, kv_type="f32") as model:
            pairs = list(zip(_greedy(model, prompts := _prompts(name)), llama_cpp(path, prompts), strict=True))
        chosen = sum(len(mine) for mine, _ in pairs)
        alike = sum(a == b for mine, theirs in pairs for a, b in zip(mine, theirs, strict=True))
    return Agreement(
        architecture=architecture,
        error=error(ours[list(tiny.SHOWN)], golden(name)),
        imported_alike=ours.tobytes() == imported.tobytes(),
        cosine=cosine(_logits(q8_0, name)[list(tiny.SHOWN)], golden(name)),
        chosen=chosen,
        alike=alike if chosen else None,
    )


def _prompt(name: str) -> list[int]:
    return mixtures.prompt(name) if name in mixtures.CONFIGS else tiny.prompt(name)


def _logits(path: Path, name: str, **options: Any) -> Logits:
    with loaded(path, tokens=tiny.TOKENS, context=tiny.TOKENS, kv_type="f32", **options) as model:
        return logits(model, _prompt(name))


def _prompts(name: str) -> list[list[int]]:
    return [[token for token in _prompt(name) if token not in FORBIDDEN][:length] for length in PROMPTS]


def _greedy(model: Model, prompts: Sequence[list[int]]) -> list[list[int]]:
    answers = []
    for prompt in prompts:
        table, tokens = range(blocks_for(len(prompt) + STEPS)), list(prompt)
        row = model.forward([Chunk(tokens, 0, table, 1)])
        while len(tokens) < len(prompt) + STEPS:
            allowed = row[0].copy()
            allowed[list(FORBIDDEN)] = -np.inf
            tokens.append(int(allowed.argmax()))
            row = model.forward([Chunk(tokens[-1:], len(tokens) - 1, table, 1)])
        answers.append(tokens[len(prompt) :])
    return answers


def llama_cpp(path: Path, prompts: Sequence[list[int]]) -> list[list[int]]:
    """Its greedy answers, of STEPS tokens each, from a cache in float32."""
    with TemporaryDirectory() as folder:
        socket = f"{folder}/llama.sock"
        parameters = xllamacpp.CommonParams()
        parameters.model.path, parameters.hostnames = str(path), [socket]
        parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = CONTEXT, 1, 1
        parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.warmup, parameters.verbosity = False, -1
        server = xllamacpp.Server(parameters)
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://llama", timeout=60) as client:
            answers = [_answer(client, prompt) for prompt in prompts]
        del server
    return answers


def _answer(client: httpx.Client, prompt: list[int]) -> list[int]:
    body: dict[str, Any] = {"prompt": prompt, "n_predict": STEPS, "temperature": 0, "cache_prompt": False}
    body |= {"return_tokens": True, "ignore_eos": True, "logit_bias": [[token, False] for token in FORBIDDEN]}
    tokens: list[int] = client.post("/completion", json=body).raise_for_status().json()["tokens"]
    return tokens
