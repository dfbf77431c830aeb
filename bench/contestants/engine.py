"""What is measured of an engine that is driven token by token, the same for each: `Puna` and llama.cpp fill in how.

Rates are tokens a second, times seconds, of a wall clock in this process: no pipe and no Python between tokens but
one call each.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

Tokens = list[int]
Measures = dict[str, float]

IDS = range(300, 900)  # every model has these tokens; which ones they are changes no speed
SEED = 1


class Engine(ABC):
    """One sequence, number 0, of which `run` computes more and `forget` less; and several in `run_batch`."""

    _kept = 0  # tokens that `_keep` has computed

    @abstractmethod
    def load(self, path: str, threads: int, context: int, sequences: int = 1) -> dict[str, Any]:
        """Load the model for `sequences` of `context` tokens each; facts to be written down, `version` among them."""

    @abstractmethod
    def forget(self, length: int) -> None:
        """Keep the first `length` tokens of sequence 0."""

    @abstractmethod
    def run(self, tokens: Tokens) -> None:
        """Process more tokens of sequence 0, if any; done when the logits of the last are there."""

    @abstractmethod
    def run_batch(self, tokens: Tokens, position: int) -> None:
        """One token at `position` of each of the sequences 0, 1, ..."""

    @abstractmethod
    def fill(self, sequence: int, tokens: Tokens) -> None:
        """Make these the whole of a sequence."""

    def speed(self, prompt: int, generated: int) -> Measures:
        """Prefill, decoding right after the prompt, and decoding with nothing before."""
        rates = self.deep(0, prompt, generated)
        self._keep(0)
        self.run(random_tokens(1))
        return {**rates, "decode_empty": self._decode(generated)}

    def deep(self, depth: int, prompt: int, generated: int) -> Measures:
        """Prefill of `prompt` tokens after `depth`, which are kept for the next time; decoding right after them."""
        self._keep(depth)
        tokens = random_tokens(prompt)
        start = time.perf_counter()
        self.run(tokens)
        prefill = prompt / (time.perf_counter() - start)
        return {"prefill": prefill, "decode": self._decode(generated)}

    def batch(self, sequences: int, prompt: int, generated: int) -> Measures:
        """Decoding of several sequences at once after a prompt each; tokens of all of them."""
        self._keep(0)
        for sequence in range(sequences):
            self.fill(sequence, random_tokens(prompt))
        tokens = random_tokens(sequences)
        start = time.perf_counter()
        for i in range(generated):
            self.run_batch(tokens, prompt + i)
        return {"batch": sequences * generated / (time.perf_counter() - start)}

    def first_token(self, path: str, threads: int, prompt: int) -> Measures:
        """From nothing but an imported library to the first token of an answer, in a process that does no more."""
        start = time.perf_counter()
        facts = self.load(path, threads, prompt + 64)
        self.run(random_tokens(prompt))
        seconds = time.perf_counter() - start
        weights = {"weight_bytes": float(facts["weight_bytes"])} if "weight_bytes" in facts else {}
        return {"seconds": seconds, "peak_bytes": peak_bytes(), **weights}

    def _keep(self, depth: int) -> None:
        """Come back to `depth` tokens; they are computed unless they are still there."""
        if depth != self._kept:
            self.forget(0)
            self.run(random_tokens(depth))
        self.forget(depth)
        self._kept = depth

    def _decode(self, generated: int) -> float:
        tokens = random_tokens(generated)
        start = time.perf_counter()
        for token in tokens:
            self.run([token])
        return generated / (time.perf_counter() - start)


def random_tokens(count: int) -> Tokens:
    """The same for everybody."""
    return random.Random(SEED).choices(IDS, k=count)


def peak_bytes() -> float:
    """The most memory that this process has had resident (Linux; elsewhere 0)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return float(line.split()[1]) * 1024
