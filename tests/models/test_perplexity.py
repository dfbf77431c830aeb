"""Perplexity of cria in every type: that of the same weights, dequantised and computed in float32, within 1 %.

The text is questions about Puna as cria was asked in training and, for as many, in words that it never saw; its answers
count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from random import Random

import numpy as np
import pytest
from training.book import load as load_book
from training.conversations import fact, turn
from training.grammar import LANGUAGES
from training.turns import Conversation

from puna.gguf import GGMLType, open_model
from puna.models import Model
from puna.tokenizer import Tokenizer
from puna.tokenizer import load as load_tokenizer
from tests.models.running import loaded, logits, write_gguf
from tests.models.weight_types import FLOATS, QUANTIZED
from training import taught

QUESTIONS, LENGTH = 60, 256  # of each kind; the tokens of one at most


@pytest.fixture(scope="module")
def cria() -> Iterator[Path]:
    with as_file(files("puna") / "data" / "cria.gguf") as path:
        yield path


@dataclass(frozen=True, slots=True)
class Text:
    """The tokens of a conversation, and which of them a model is to foretell."""

    tokens: list[int]
    counts: list[bool]


@pytest.fixture(scope="module")
def texts(cria: Path) -> list[Text]:
    with open_model(cria) as file:
        tokenizer = load_tokenizer(file)
    random, book = Random(3), taught.read().of(load_book())
    kinds = [(language, held) for language in LANGUAGES for held in (False, True)] * (QUESTIONS // 2)
    turns = [turn(random, book, language, held, fact) for language, held in kinds]
    return [_text(tokenizer, Conversation(None, (one,)).messages()) for one in turns]


def _text(tokenizer: Tokenizer, messages: list[dict[str, str]]) -> Text:
    tokens: list[int] = []
    counts: list[bool] = []
    for message in messages:
        head = tokenizer.encode(f"<|im_start|>{message['role']}\n", parse_special=True)
        content = tokenizer.encode(f"{message['content']}<|im_end|>", parse_special=True)
        tokens += [*head, *content, *tokenizer.encode("\n")]
        counts += [False] * len(head) + [message["role"] == "assistant"] * len(content) + [False]
    return Text(tokens[:LENGTH], counts[:LENGTH])


def perplexity(model: Model, texts: list[Text]) -> float:
    """exp of the mean of -log p of each token that counts, given those before it."""
    losses = []
    for text in texts:
        rows = logits(model, text.tokens[:-1]).astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        chosen = rows[np.arange(len(rows)), text.tokens[1:]]
        losses.append((np.log(np.exp(rows).sum(axis=1)) - chosen)[text.counts[1:]])
    return float(np.exp(np.concatenate(losses).mean()))


@pytest.mark.parametrize("kind", FLOATS[1:] + QUANTIZED, ids=lambda kind: kind.name)
def test_quantised_arithmetic_costs_no_perplexity(
    kind: GGMLType, cria: Path, texts: list[Text], tmp_path: Path
) -> None:
    with open_model(cria) as file:
        path = write_gguf(tmp_path / "model.gguf", file, kind)
    with open_model(path) as file:
        dequantised = write_gguf(tmp_path / "f32.gguf", file, GGMLType.F32)
    with loaded(path, tokens=LENGTH, max_outputs=LENGTH) as model:
        ours = perplexity(model, texts)
    with loaded(dequantised, tokens=LENGTH, max_outputs=LENGTH, kv_type="f32") as exact:
        theirs = perplexity(exact, texts)
    print(f"\n{kind.name}: {ours:.4f}, in float32 {theirs:.4f}: {ours / theirs - 1:+.3%}")
    assert abs(ours / theirs - 1) < 0.01


def test_the_text_is_one_that_cria_knows_and_a_spoiled_model_does_not(
    cria: Path, texts: list[Text], tmp_path: Path
) -> None:
    """Otherwise the perplexity would measure nothing."""
    with open_model(cria) as file:
        path = write_gguf(tmp_path / "spoiled.gguf", file, GGMLType.TQ2_0)
    with loaded(cria, tokens=LENGTH, max_outputs=LENGTH) as model:
        known = perplexity(model, texts)
    with loaded(path, tokens=LENGTH, max_outputs=LENGTH) as model:
        spoiled = perplexity(model, texts)
    print(f"\ncria {known:.3f}, spoiled {spoiled:.3f}")
    assert known < 10
    assert spoiled > 1.05 * known
