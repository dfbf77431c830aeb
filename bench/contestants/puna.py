"""Puna's forward pass, in process: `Model.forward`, with no scheduler, no sampling and no text."""

from __future__ import annotations

import time
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

from bench.contestants.engine import Engine, Measures, Tokens, random_tokens
from bench.contestants.serving import serve
from puna import __version__, hardware, models
from puna.gguf import ModelConfig, ModelFile, open_model


class Puna(Engine):
    """Each sequence has KV blocks of its own, one after another."""

    def load(self, path: str, threads: int, context: int, sequences: int = 1) -> dict[str, Any]:
        """See Engine."""
        blocks, file = models.blocks_for(context), open_model(Path(path))
        self._model = models.load(
            file, threads=threads, num_blocks=blocks * sequences, context=context,
            max_outputs=max(16, sequences),
        )  # fmt: skip
        self._tables = [list(range(i * blocks, (i + 1) * blocks)) for i in range(sequences)]
        self._length, self._layer_weights = 0, _layer_weights(file)
        return {
            "version": f"puna {__version__}",
            "isa": str(hardware.isa()),
            "weight_bytes": self._model.weight_bytes,
            "layer_weights": self._layer_weights,
            "warnings": list(self._model.warnings),
        }

    def forget(self, length: int) -> None:
        """See Engine."""
        self._length = length

    def run(self, tokens: Tokens) -> None:
        """See Engine."""
        self._prefill(0, tokens, self._length)
        self._length += len(tokens)

    def run_batch(self, tokens: Tokens, position: int) -> None:
        """See Engine."""
        pairs = zip(tokens, self._tables, strict=False)
        self._model.forward([models.Chunk([token], position, table, 1) for token, table in pairs])

    def fill(self, sequence: int, tokens: Tokens) -> None:
        """See Engine."""
        self._prefill(sequence, tokens, 0)

    def speed(self, prompt: int, generated: int) -> Measures:
        """See Engine; and the gigaoperations a second of the prefill's matrix products by themselves."""
        return {**super().speed(prompt, generated), "products": self._products(min(prompt, self._model.max_tokens))}

    def _products(self, tokens: int) -> float:
        model = self._model
        self.forget(0)
        self.run(random_tokens(tokens))  # leaves behind how many rows a step has
        start = time.perf_counter()
        model._team.run(model._forward.tape.only("matmul_"))
        return 2 * self._layer_weights * tokens / (time.perf_counter() - start) / 1e9

    def _prefill(self, sequence: int, tokens: Tokens, position: int) -> None:
        size = self._model.max_tokens
        for start in range(0, len(tokens), size):
            part = tokens[start : start + size]
            wanted = int(start + size >= len(tokens))
            self._model.forward([models.Chunk(part, position + start, self._tables[sequence], wanted)])


def _layer_weights(file: ModelFile) -> int:
    """The weights that each token of a prompt is multiplied with: the layers' matrices, those of its experts alone."""
    layers = {name: t for name, t in file.tensors.items() if name.startswith("blk.") and len(t.shape) > 1}
    experts = ModelConfig.from_model(file).experts
    share = Fraction(experts.used, experts.count) if experts else Fraction(1)
    return int(sum(prod(t.shape) * (share if "_exps" in name else 1) for name, t in layers.items()))


if __name__ == "__main__":
    serve(Puna())
