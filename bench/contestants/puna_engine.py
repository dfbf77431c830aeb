"""Puna's engine, in process, loaded as `puna serve` loads it: speculation, and what sampling costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.contestants.engine import Measures
from bench.contestants.serving import serve
from bench.make_model import passage, successor
from puna import __version__, models
from puna.engine import ErrorEvent, FinishedEvent, GenerationRequest, SamplingParams, TokenEvent
from puna.engine.loading import load_engine
from puna.engine.sampler import Sampler

SAMPLES = 50  # tokens drawn to time the sampler
SEQUENCES = 8  # decoded at once, at most: the server's default


class PunaEngine:
    """Token ids in, token ids out."""

    def load(self, path: str, threads: int, context: int) -> dict[str, Any]:
        """Load the model."""
        self._engine = load_engine(Path(path), threads=threads, context=context, max_sequences=SEQUENCES)
        return {"version": f"puna {__version__}"}

    def copying(self, generated: int) -> Measures:
        """Tokens a second, after the first, of a greedy answer that repeats its prompt, a passage of 300 tokens.

        Needs a model by `bench.make_model`, which does repeat; with another, ValueError: it would measure nothing.
        """
        plain = self._repeat(generated, draft_tokens=0)
        speculating = self._repeat(generated, draft_tokens=None)
        return {
            "plain_rate": plain["rate"],
            **{f"speculating_{name}": value for name, value in speculating.items()},
        }

    def _repeat(self, generated: int, draft_tokens: int | None) -> Measures:
        prompt = tuple(passage())
        self._engine.add(
            GenerationRequest(
                "copy", prompt, generated, sampling=SamplingParams(temperature=0), draft_tokens=draft_tokens
            )
        )
        tokens, arrivals, drafted = [prompt[-1]], [], 0
        while self._engine.has_work:
            for event in self._engine.step():
                match event:
                    case TokenEvent():
                        tokens.append(event.token)
                        arrivals.append(time.perf_counter())
                    case FinishedEvent():
                        drafted = event.usage.drafted_tokens
                    case ErrorEvent():
                        raise event.exception()
        if any(after != successor(before) for before, after in pairwise(tokens)):
            raise ValueError("the model does not repeat its prompt; make it with `python -m bench make`")
        return {"rate": (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]), "drafted": drafted}

    def stream(self, prompt: Sequence[int], generated: int) -> Measures:
        """Of a greedy answer to a prompt that is cached: seconds to the first token, tokens a second after it."""
        for name, count in (("computed", 1), ("cached", generated)):
            request = GenerationRequest(name, tuple(prompt), count, sampling=SamplingParams(temperature=0))
            start = time.perf_counter()
            self._engine.add(request)
            arrivals = self._run()
        return {
            "first": arrivals[0] - start,
            "rate": (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]),
        }

    def _run(self) -> list[float]:
        """When each token came."""
        arrivals = []
        while self._engine.has_work:
            for event in self._engine.step():
                match event:
                    case TokenEvent():
                        arrivals.append(time.perf_counter())
                    case ErrorEvent():
                        raise event.exception()
        return arrivals

    def sampling(self) -> Measures:
        """Seconds of a decode step with nothing before it, and of drawing a token from its logits by default."""
        model, random = self._engine.model, np.random.default_rng(1)
        sampler, table = Sampler(SamplingParams(seed=1)), list(range(models.blocks_for(1)))
        steps, draws, token = [], [], 1
        for _ in range(SAMPLES):
            start = time.perf_counter()
            logits = model.forward([models.Chunk([token], 0, table, 1)])[0]
            steps.append(time.perf_counter() - start)
            logits = logits + random.standard_normal(len(logits), np.float32)  # so that there is something to choose
            start = time.perf_counter()
            token = sampler.sample(logits, [token])
            draws.append(time.perf_counter() - start)
        return {"step_seconds": median(steps), "sample_seconds": median(draws)}


if __name__ == "__main__":
    serve(PunaEngine())
