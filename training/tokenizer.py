"""Byte-level BPE for cria with Qwen2's split (single digits), trained on the generator's own text.

In training every Chinese character stands alone, so that no merge crosses two of them: a character is the same
tokens wherever it stands, and at run time the plain `qwen2` pre-tokenizer gives the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from training.book import LANGUAGES, Book
from training.conversations import Conversation, conversation, made_up_word

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
)  # fmt: skip
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
IGNORED = -1  # the label of a token that is not cria's to say


def train(book: Book, size: int, *, seed: int = 0, conversations: int = 30_000) -> Tokenizer:
    """A tokenizer with at most `size` entries."""
    rng = Random(f"tokenizer {seed}")
    tokenizer = Tokenizer(models.BPE())
    qwen2 = [
        pre_tokenizers.Split(Regex(QWEN2), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    alone = pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([alone, *qwen2])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=4,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(rng, book, conversations), trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(qwen2)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _corpus(rng: Random, book: Book, conversations: int) -> Iterator[str]:
    for _ in range(conversations):
        for message in conversation(rng, book).messages():
            yield f"{message['role']}\n{message['content']}"
    for language in LANGUAGES:
        for _ in range(500):
            yield made_up_word(rng, language)


def encode(tokenizer: Tokenizer, talk: Conversation) -> tuple[list[int], list[int]]:
    """Token ids in ChatML, and labels: the id itself in cria's answers (with the mark that ends them), else IGNORED."""
    ids: list[int] = []
    labels: list[int] = []
    for message in talk.messages():
        head = tokenizer.encode(f"<|im_start|>{message['role']}\n").ids
        body = tokenizer.encode(message["content"] + "<|im_end|>").ids
        tail = tokenizer.encode("\n").ids
        ids += head + body + tail
        spoken = body if message["role"] == "assistant" else [IGNORED] * len(body)
        labels += [IGNORED] * len(head) + spoken + [IGNORED] * len(tail)
    return ids, labels
