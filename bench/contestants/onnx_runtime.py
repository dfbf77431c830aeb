"""ONNX Runtime on an embedder that `bench.contestants.onnx_models` has exported."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime

from bench.contestants.serving import serve

BATCHES = (4, 8, 32)  # texts at once that are tried: the best is taken


class OnnxRuntime:
    """Token ids in, unit vectors out."""

    def load(self, path: str, threads: int) -> dict[str, Any]:
        """Load the model, and find the batch it is quickest with."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [each.name for each in self._session.get_inputs()]
        trial = [[101, *range(2000, 2126), 102]] * 64
        self._batch = min(BATCHES, key=lambda batch: min(self._run(trial, batch)[0] for _ in range(2)))
        return {"version": f"onnxruntime {onnxruntime.__version__}", "batch": self._batch}

    def embed(self, texts: list[list[int]]) -> dict[str, Any]:
        """Seconds for all texts, which have the same length, and the first one's vector."""
        seconds, vectors = self._run(texts, self._batch)
        return {"seconds": seconds, "vector": vectors[0].tolist()}

    def _run(self, texts: list[list[int]], batch: int) -> tuple[float, Any]:
        ids = np.array(texts, np.int64)
        made = []
        start = time.perf_counter()
        for first in range(0, len(ids), batch):
            part = ids[first : first + batch]
            inputs = {"input_ids": part, "attention_mask": np.ones_like(part), "token_type_ids": np.zeros_like(part)}
            made.append(self._session.run(None, {name: inputs[name] for name in self._names})[0])
        return time.perf_counter() - start, np.concatenate(made)


if __name__ == "__main__":
    serve(OnnxRuntime())
