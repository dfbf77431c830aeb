"""llama.cpp as xllamacpp's prebuilt wheel has it (AVX2 only), by its server in this process and its own timings.

    pip install xllamacpp

Its timings hold a greedy choice of each token, which the forward passes measured elsewhere do not.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from typing import Any

import xllamacpp

from bench.contestants.engine import Measures, random_tokens
from bench.contestants.serving import serve


class XLlamaCpp:
    """One slot, no prompt cache."""

    def load(self, path: str, threads: int, context: int) -> dict[str, Any]:
        """Load the model."""
        p = xllamacpp.CommonParams()
        p.model.path, p.n_ctx, p.n_parallel, p.n_batch, p.n_ubatch = path, context, 1, 512, 512
        p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
        p.warmup, p.verbosity = False, -1
        p.hostnames = [f"{tempfile.mkdtemp()}/bench.sock"]  # not a port of this machine
        self._server = xllamacpp.Server(p)
        return {"version": f"xllamacpp {version('xllamacpp')}"}

    def speed(self, prompt: int, generated: int) -> Measures:
        """Prefill, decoding after it, and decoding after one token."""
        tokens = random_tokens(prompt)
        full, empty = self._timings(tokens, generated), self._timings(tokens[:1], generated)
        return {
            "prefill": full["prompt_per_second"],
            "decode": full["predicted_per_second"],
            "decode_empty": empty["predicted_per_second"],
        }

    def _timings(self, prompt: list[int], generated: int) -> dict[str, float]:
        replies: list[dict[str, Any]] = []
        body = {
            "prompt": prompt, "n_predict": generated, "max_tokens": generated, "temperature": 0, "ignore_eos": True,
            "cache_prompt": False, "stream": False,
        }  # fmt: skip
        self._server.handle_completions(body, replies.append)
        timings: dict[str, float] = replies[-1]["timings"]
        if timings["prompt_n"] != len(prompt) or timings["predicted_n"] != generated:
            raise RuntimeError(f"asked for {len(prompt)} and {generated} tokens: {timings}")
        return timings


if __name__ == "__main__":
    serve(XLlamaCpp())
