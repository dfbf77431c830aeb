"""OpenVINO GenAI on the CPU, by its own timings; it reads GGUF files of llama, qwen2 and qwen3 with a BPE vocabulary.

pip install openvino-genai
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import openvino_genai

from bench.contestants.engine import Measures, random_tokens
from bench.contestants.serving import serve


class OpenVINO:
    """An LLMPipeline, greedy."""

    def load(self, path: str, threads: int, context: int) -> dict[str, Any]:  # noqa: ARG002 (it grows by itself)
        """Load the model."""
        self._pipeline = openvino_genai.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=threads)
        return {"version": f"openvino-genai {openvino_genai.__version__}"}

    def speed(self, prompt: int, generated: int) -> Measures:
        """Prefill, decoding after it, and decoding after one token."""
        tokens = random_tokens(prompt)
        first, decode = self._timings(tokens, generated)
        return {"prefill": prompt / first, "decode": decode, "decode_empty": self._timings(tokens[:1], generated)[1]}

    def _timings(self, prompt: list[int], generated: int) -> tuple[float, float]:
        """Seconds to the first token, and tokens a second after it."""
        config = openvino_genai.GenerationConfig(max_new_tokens=generated, ignore_eos=True, do_sample=False)
        ids = openvino.Tensor(np.array([prompt], np.int64))
        metrics = self._pipeline.generate(ids, config).perf_metrics
        if metrics.get_num_generated_tokens() != generated:
            raise RuntimeError(f"asked for {generated} tokens: {metrics.get_num_generated_tokens()}")
        return metrics.get_ttft().mean / 1e3, 1e3 / metrics.get_tpot().mean


if __name__ == "__main__":
    serve(OpenVINO())
