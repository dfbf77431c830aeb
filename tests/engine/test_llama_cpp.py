"""The sampler's order and rules against llama.cpp itself: the probabilities its default chain leaves on cria.

llama.cpp gives the probabilities after its chain (`post_sampling_probs`), and before it those of the whole
vocabulary. Fed with the latter, our chain must give the former.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xllamacpp
from numpy.typing import NDArray

from puna import models
from puna.engine.engine import Engine
from puna.engine.sampler import Sampler
from puna.engine.types import SamplingParams
from puna.gguf import open_model

Logits = list[tuple[list[int], NDArray[np.float32]]]  # prompt, (vocab_size,)
Complete = Callable[[list[int], SamplingParams, str], dict[int, float]]

_random = np.random.default_rng(1)
PROMPTS = [[1, *_random.integers(3, 2000, 6).tolist(), 300, 12, 300] for _ in range(8)]
OFF = SamplingParams(temperature=1, top_k=0, top_p=1)
SETTINGS = [
    SamplingParams(),
    SamplingParams(top_k=20, top_p=0.95, temperature=0.7),
    SamplingParams(top_k=0, top_p=0.8, temperature=1.5),
    SamplingParams(top_k=5, top_p=1, temperature=2.0),
    SamplingParams(top_k=0, top_p=1, min_p=0.02, temperature=3.0),
    SamplingParams(top_k=30, top_p=0.97, min_p=0.01, temperature=1.3),
    SamplingParams(top_k=0, top_p=1, typical_p=0.7, temperature=1.0),
    SamplingParams(top_k=25, top_p=0.9, typical_p=0.5, min_p=0.05, temperature=0.9),
    SamplingParams(top_p=0.99, presence_penalty=1.5, temperature=1.0),
    SamplingParams(top_p=0.99, frequency_penalty=0.7, repeat_last_n=3, temperature=1.0),
    SamplingParams(top_p=0.99, frequency_penalty=0.7, presence_penalty=-0.5, repeat_last_n=-1, temperature=1.0),
    SamplingParams(top_p=0.99, repeat_penalty=1.3, temperature=1.0),
    SamplingParams(top_p=0.99, repeat_penalty=1.3, repeat_last_n=0, temperature=1.0),
    SamplingParams(top_p=0.99, logit_bias=((300, 4.0), (12, -3.0), (5, 2.0)), temperature=1.0),
]


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with as_file(files("puna") / "data" / "cria.gguf") as found:
        yield found


@pytest.fixture(scope="module")
def complete(path: Path) -> Complete:
    """Asks llama.cpp for every token's 'logprob' before its chain, or 'prob' after it.

    It tells nothing (here: an empty dict) when the token it draws has no text, as the end of text.
    """
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 256, 1, 1
    server = xllamacpp.Server(params)

    def complete(prompt: list[int], settings: SamplingParams, what: str) -> dict[int, float]:
        fields = {**asdict(settings), "logit_bias": [list(pair) for pair in settings.logit_bias]}
        if settings.repeat_last_n == -1:  # its command line takes it, its server does not
            fields["repeat_last_n"] = len(prompt)
        body = {"prompt": prompt, "n_predict": 1, "cache_prompt": False, "stream": False, "logprobs": 2048}
        body |= {**fields, "post_sampling_probs": what == "prob", "seed": 1}
        replies: list[dict[str, Any]] = []
        server.handle_completions(body, replies.append)
        shown = replies[-1]["choices"][0]["logprobs"]
        return {entry["id"]: entry[what] for entry in shown["content"][0][f"top_{what}s"]} if shown else {}

    return complete


@pytest.fixture(scope="module")
def logits(path: Path, complete: Complete) -> Logits:
    """llama.cpp's logits after each prompt; their zero, which log-probabilities hide, is taken from ours."""
    model = models.load(open_model(path), threads=1, num_blocks=8)
    engine = Engine(model, context=256, max_sequences=1)
    found = []
    for prompt in PROMPTS:
        theirs = complete(prompt, OFF, "logprob")
        if not theirs:
            continue
        row = np.array([theirs[token] for token in range(model.vocab_size)], np.float32)
        found.append((prompt, row + np.median(engine.logits(prompt)[-1] - row)))
    model.close()
    return found


@pytest.mark.parametrize("settings", SETTINGS)
def test_our_chain_leaves_the_probabilities_that_llama_cpp_leaves(
    settings: SamplingParams, complete: Complete, logits: Logits
) -> None:
    compared = 0
    for prompt, row in logits:
        if theirs := complete(prompt, settings, "prob"):
            ids, weights = Sampler(settings).distribution(row, prompt)
            candidates = range(len(row)) if ids is None else ids.tolist()
            ours = dict(zip(candidates, (weights / weights.sum(dtype=np.float64)).tolist(), strict=True))
            assert ours == pytest.approx(theirs, rel=0.02, abs=1e-6)
            compared += 1
    assert compared >= 2
