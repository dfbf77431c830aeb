"""Prompts for a model that fills in between two texts: what comes before, what comes after, and then its answer.

Source: "Efficient Training of Language Models to Fill in the Middle" (arXiv:2207.14255), the order PSM; the tokens
are GGUF's `tokenizer.ggml.fim_*_token_id`, older files' `prefix_token_id`, ..., or known by their texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from puna.gguf import Value
from puna.tokenizer import Tokenizer

_KEY = "tokenizer.ggml."
_KEYS = (
    ("fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id"),
    ("prefix_token_id", "suffix_token_id", "middle_token_id"),
)
_TEXTS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),  # DeepSeek
    ("<PRE>", "<SUF>", "<MID>"),
    ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"),  # Code Llama
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # GLM
    ("<|prefix|>", "<|suffix|>", "<|middle|>"),
)


@dataclass(frozen=True, slots=True)
class Infill:
    """The ids of the tokens that stand before the text before, the text after, and the answer."""

    prefix: int
    suffix: int
    middle: int

    @classmethod
    def of(cls, metadata: Mapping[str, Value], vocab_size: int, tokens: Mapping[str, int]) -> Self | None:
        """None for a model that was not taught it. `tokens`: its control tokens, or those of FIM_TEXTS at least."""
        for keys in _KEYS:
            ids = [metadata.get(_KEY + key) for key in keys]
            if all(isinstance(each, int) and 0 <= each < vocab_size for each in ids):
                return cls(*map(int, ids))  # type: ignore[arg-type]  # they are integers
        return next((cls(*(tokens[text] for text in texts)) for texts in _TEXTS if tokens.keys() >= set(texts)), None)

    def token_ids(self, before: str, after: str, tokenizer: Tokenizer) -> tuple[int, ...]:
        """The prompt. What stands for a control token in the two texts is text here."""
        start = [tokenizer.bos_id] if tokenizer.add_bos and tokenizer.bos_id is not None else []
        first = tokenizer.encode(before, add_special=False)
        second = tokenizer.encode(after, add_special=False)
        return (*start, self.prefix, *first, self.suffix, *second, self.middle)
