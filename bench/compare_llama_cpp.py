"""Puna beside llama.cpp on one GGUF file: prefill and decode, in turn, in one process.

    pip install llama-cpp-python        # builds llama.cpp for this processor
    python bench/compare_llama_cpp.py FILE.gguf --threads 2

llama.cpp is driven by its C interface (llama_decode), with no Python between tokens but one call each; flash
attention as it chooses. Prints the medians over the rounds and their ratios, as a table or as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import llama_cpp
import numpy as np
from limits import LimitsProbe
from numpy.typing import NDArray

from puna import models
from puna.gguf import open_model

PAUSE = 0.5  # seconds between engines, for threads that still spin


class EngineUnderTest(Protocol):
    """What a bench needs of an engine."""

    def prefill(self, tokens: NDArray[np.int64]) -> None:
        """Forget everything, then process the tokens; logits of the last."""
        ...

    def decode(self, token: int) -> None:
        """Process one more token; its logits."""
        ...


class Puna:
    """Our engine, in process."""

    def __init__(self, path: Path, threads: int, context: int) -> None:
        blocks = models.blocks_for(context)
        self._model = models.load(open_model(path), threads=threads, num_blocks=blocks)
        self._table, self._length = list(range(blocks)), 0
        self.weight_gigabytes = self._model.weight_bytes / 1e9

    def prefill(self, tokens: NDArray[np.int64]) -> None:
        """See EngineUnderTest."""
        self._length = 0
        for start in range(0, len(tokens), self._model.max_tokens):
            self._run(tokens[start : start + self._model.max_tokens])

    def decode(self, token: int) -> None:
        """See EngineUnderTest."""
        self._run(np.array([token]))

    def _run(self, tokens: NDArray[np.int64]) -> None:
        self._model.forward([models.Chunk(tokens.tolist(), self._length, self._table, 1)])
        self._length += len(tokens)


class LlamaCpp:
    """llama.cpp by its C interface."""

    def __init__(self, path: Path, threads: int, context: int) -> None:
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, 512, 512
        params.n_threads = params.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, params)

    def prefill(self, tokens: NDArray[np.int64]) -> None:
        """See EngineUnderTest."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        for start in range(0, len(tokens), 512):
            self._run(tokens[start : start + 512])

    def decode(self, token: int) -> None:
        """See EngineUnderTest."""
        self._run(np.array([token]))

    def _run(self, tokens: NDArray[np.int64]) -> None:
        array: Any = (llama_cpp.llama_token * len(tokens))(*tokens.tolist())
        if llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(array, len(tokens))):
            raise RuntimeError("llama_decode failed")
        llama_cpp.llama_synchronize(self._context)


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens a second."""

    prefill: float
    decode: float  # right after the prompt


def measure(engine: EngineUnderTest, tokens: NDArray[np.int64], generated: int) -> Rates:
    """One round."""
    start = time.perf_counter()
    engine.prefill(tokens)
    middle = time.perf_counter()
    for token in tokens[:generated]:
        engine.decode(int(token))
    end = time.perf_counter()
    return Rates(len(tokens) / (middle - start), generated / (end - middle))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Puna beside llama.cpp on one GGUF file")
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--gen-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    context = a.prompt_tokens + a.gen_tokens + 32
    puna, probe = Puna(a.file, a.threads, context), LimitsProbe(a.threads)
    engines: dict[str, EngineUnderTest] = {"puna": puna, "llama.cpp": LlamaCpp(a.file, a.threads, context)}
    tokens = np.random.default_rng(0).integers(300, 30000, a.prompt_tokens)
    rounds: dict[str, list[Rates]] = {name: [] for name in engines}
    read: list[float] = []
    for i in range(a.rounds + 1):
        for name, engine in engines.items():
            rates = measure(engine, tokens, a.gen_tokens)
            if i:  # the first round warms up
                rounds[name].append(rates)
            time.sleep(PAUSE)
        read.append(statistics.median(probe.read() for _ in range(3)))
    report(rounds, statistics.median(read[1:]), puna.weight_gigabytes, as_json=a.json)


def report(rounds: dict[str, list[Rates]], read: float, weights: float, *, as_json: bool) -> None:
    """Print medians, the ratio of each round's pair, and what memory allows."""
    result: dict[str, dict[str, float]] = {}
    for what in ("prefill", "decode"):
        rates = {name: [float(getattr(r, what)) for r in of_engine] for name, of_engine in rounds.items()}
        ratio = statistics.median(ours / theirs for ours, theirs in zip(*rates.values(), strict=True))
        result[what] = {name: statistics.median(values) for name, values in rates.items()} | {"ratio": ratio}
    streamed = weights * result["decode"]["puna"]
    result["memory"] = {"read_gigabytes_per_second": read, "decode_share": streamed / read}
    if as_json:
        print(json.dumps(result))
        return
    for what in ("prefill", "decode"):
        puna, other, ratio = result[what].values()
        print(f"{what:8} puna {puna:7.1f} tok/s   llama.cpp {other:7.1f}   {ratio:.2f}x")
    print(f"decoding streams {streamed:.1f} GB/s of weights; plain reading reaches {read:.1f} ({streamed / read:.0%})")


if __name__ == "__main__":
    main()
