"""How well cria answers: a cheap quiz while it trains; after, greedy answers of the GGUF file, run by Puna."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer

import puna
from training.book import Book
from training.grammar import Language
from training.model import Llama
from training.questions import Item, completion, held_out
from training.tokenizer import IGNORED, encode

CONTEXT = 4096
LONGEST = 1024  # tokens of a conversation in the quiz


class Quiz:
    """A fixed set of questions, answered by one forward pass.

    Greedy decoding gives the reference answer exactly when each of its tokens is the likeliest after those before it.
    """

    def __init__(self, book: Book, tokenizer: Tokenizer, count: int = 1) -> None:
        self.items: list[tuple[str, list[int], list[int]]] = []
        for item in held_out(book, count, seed=99):
            ids, labels = encode(tokenizer, item.talk)
            if len(ids) > LONGEST:
                continue
            said = len(tokenizer.encode(item.turn.said() + "<|im_end|>\n").ids)
            wanted = [IGNORED] * (len(labels) - said) + labels[-said:]
            self.items.append((f"{item.task} {item.language}", ids, wanted))
        self.items.sort(key=lambda item: len(item[1]))

    def report(self, model: Llama) -> str:
        """Per cent of exact answers by task and language."""
        right: dict[str, list[bool]] = defaultdict(list)
        for start in range(0, len(self.items), 32):
            chunk = self.items[start : start + 32]
            lengths = [len(ids) for _, ids, _ in chunk]
            ids = torch.tensor([token for _, ids, _ in chunk for token in ids])
            positions = torch.cat([torch.arange(length) for length in lengths])
            with torch.no_grad():
                best = model.logits(model.hidden(ids, positions, lengths)).argmax(-1).split(lengths)
            for (cell, _, labels), made in zip(chunk, best, strict=True):
                wanted = torch.tensor(labels[1:])
                right[cell].append(bool(((made[:-1] == wanted) | (wanted == IGNORED)).all()))
        total = [good for cell in right.values() for good in cell]
        cells = ", ".join(f"{cell} {_percent(good):.0f}" for cell, good in sorted(right.items()))
        return f"all {_percent(total):.1f}: {cells}"


def answers(path: Path, items: list[Item]) -> list[str]:
    """Greedy answers of the model in a GGUF file, run by Puna."""
    with puna.LLM(path, context=CONTEXT) as llm:
        return [completion(llm, item.talk) for item in items]


def table(items: list[Item], said: list[str]) -> Mapping[str, Mapping[Language, tuple[int, int]]]:
    """Right answers and questions, by task and language."""
    counts: dict[str, dict[Language, tuple[int, int]]] = defaultdict(dict)
    for item, answer in zip(items, said, strict=True):
        good, total = counts[item.task].get(item.language, (0, 0))
        counts[item.task][item.language] = (good + item.turn.right(answer), total + 1)
    return counts


def _percent(good: list[bool]) -> float:
    return 100 * sum(good) / len(good)
