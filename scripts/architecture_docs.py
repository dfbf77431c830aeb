"""Writes docs/architectures.md: `python -m scripts.architecture_docs` measures every architecture (a minute or two).

A test fails when an architecture is missing. The figures are those of `tests/models/agreement.py`, and of
`tests/models/test_encoders.py`.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.models import mixtures, test_encoders, tiny, tiny_encoders
from tests.models.agreement import Agreement, measure

from puna.gguf import open_model

TARGET = Path(__file__).parent.parent / "docs" / "architectures.md"

HEAD = """# Architectures

Made by `python -m scripts.architecture_docs`; do not edit by hand. [How to add one](add-an-architecture.md).

Each row is a tiny model with random weights, taken from a Hugging Face folder to logits directly, and by way of a GGUF
file that `puna` has written (both give the same bits).

- *error*: the largest difference of a logit from transformers', over the range of the logits, weights and cache in F32;
- *Q8_0*: the cosine of the logits, weights in Q8_0, with transformers' in F32;
- *llama.cpp*: how many of the greedy tokens llama.cpp chooses too, from the same GGUF file (a dash: it has no such
  model).

| GGUF name | in transformers | tried as | error | Q8_0 | llama.cpp |
|---|---|---|---|---|---|
"""

ENCODERS = """
## Encoders

They make vectors, or a score of two texts; *error* is that of final states, or of the score.

| GGUF name | in transformers | tried as | error |
|---|---|---|---|
"""


def document() -> str:
    """The whole page."""
    rows = []
    for name, config in (tiny.CONFIGS | mixtures.CONFIGS).items():
        with TemporaryDirectory() as folder:
            rows.append(_row(name, config["architectures"][0], measure(name, Path(folder))))
    return HEAD + "\n".join(sorted(rows)) + "\n" + encoders()


def encoders() -> str:
    """Their table."""
    rows = []
    for name, config in tiny_encoders.CONFIGS.items():
        with TemporaryDirectory() as folder:
            path = tiny_encoders.write_folder(Path(folder, "model"), name)
            with open_model(path) as file:
                architecture = file.metadata["general.architecture"]
            error = test_encoders.error(test_encoders.run(path, name), test_encoders.golden(name))
        rows.append(f"| {architecture} | {config['architectures'][0]} | {name} | {error:.1e} |")
    return ENCODERS + "\n".join(sorted(rows)) + "\n"


def _row(name: str, kind: str, found: Agreement) -> str:
    alike = "-" if found.alike is None else f"{found.alike} of {found.chosen}"
    return f"| {found.architecture} | {kind} | {name} | {found.error:.1e} | {found.cosine:.5f} | {alike} |"


if __name__ == "__main__":
    TARGET.write_text(document())
