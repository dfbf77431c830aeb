"""Byte-level BPE for cria with Qwen2's split (single digits), trained on the generator's own text.

So that text is copied token by token, a word has the same tokens wherever it stands: in training Chinese characters and
blanks stand alone, and no merge crosses them. Then blanks join the whole words that are most frequent after one, which
come last in the order of merges. At run time the plain `qwen2` pre-tokenizer gives the same result.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from training.book import Book
from training.conversations import conversation
from training.grammar import LANGUAGES
from training.turns import Conversation
from training.values import made_up_word

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
    "<tools>", "</tools>",
)  # fmt: skip
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BLANK = "Ġ"  # byte-level BPE's letter for a blank
WITH_BLANK = 0.3  # of the vocabulary: words with the blank before them
IGNORED = -1  # the label of a token that is not cria's to say


def train(book: Book, size: int, *, seed: int = 0, conversations: int = 20_000) -> Tokenizer:
    """A tokenizer with at most `size` entries."""
    corpus = list(_corpus(Random(f"tokenizer {seed}"), book, conversations))
    tokenizer = Tokenizer(models.BPE())
    alone = pre_tokenizers.Split(Regex(r"\p{Han}| (?=\S)"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([alone, *_qwen2()])
    trainer = trainers.BpeTrainer(
        vocab_size=int(size * (1 - WITH_BLANK)),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=4,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return _with_blanks(tokenizer, size, corpus)


def _qwen2() -> list[pre_tokenizers.PreTokenizer]:
    return [
        pre_tokenizers.Split(Regex(QWEN2), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


def _with_blanks(tokenizer: Tokenizer, size: int, corpus: list[str]) -> Tokenizer:
    """The tokenizer with entries for a blank and the token after it, the most frequent ones."""
    counts: Counter[str] = Counter()
    for encoding in tokenizer.encode_batch(corpus):
        tokens = encoding.tokens
        counts.update(after for before, after in pairwise(tokens) if before == BLANK)
    state = json.loads(tokenizer.to_str())
    vocab, merges = state["model"]["vocab"], state["model"]["merges"]
    frequent = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    for token, _ in frequent:
        if len(vocab) == size:
            break
        if token not in SPECIAL and BLANK + token not in vocab:
            vocab[BLANK + token] = len(vocab)
            merges.append([BLANK, token])
    made = Tokenizer.from_str(json.dumps(state))
    made.pre_tokenizer = pre_tokenizers.Sequence(_qwen2())
    made.decoder = decoders.ByteLevel()
    return made


def _corpus(rng: Random, book: Book, conversations: int) -> Iterator[str]:
    for _ in range(conversations):
        talk = conversation(rng, book)
        yield talk.preamble()
        for turn in talk.turns:
            yield f"user\n{turn.asked()}"
            yield f"assistant\n{turn.said()}"
    for language in LANGUAGES:
        for _ in range(500):
            yield made_up_word(rng, language)


def encode(tokenizer: Tokenizer, talk: Conversation) -> tuple[list[int], list[int]]:
    """Token ids in ChatML, and labels: the id itself where cria speaks (and ends its turn), else IGNORED."""
    ids: list[int] = []
    labels: list[int] = []

    for i, piece in enumerate(talk.pieces()):
        turn, answers = talk.turns[i // 2], i % 2 == 1
        end = len(turn.said())
        taught = [*turn.taught(), (end, end + 1)] if answers else []  # the mark after it is cria's, too
        encoding = tokenizer.encode(piece)
        ids.extend(encoding.ids)
        for token, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
            labels.append(token if any(a <= start < b for a, b in taught) else IGNORED)
    return ids, labels
