"""Which `tokenizer.ggml.pre` cuts text as a tokenizer.json does: found by cutting texts and comparing.

The same rule is written in many ways (a pattern in one piece or in several, digits apart), and many files with other
patterns cut alike; so patterns are not compared. Knows nothing of vocabularies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers.pre_tokenizers import PreTokenizer as Words

from puna.conversion.probes import TEXTS, every_character
from puna.tokenizer.building import words_of
from puna.tokenizer.pretokenizers import PRE_TOKENIZERS, PreTokenizer
from puna.tokenizer.refusals import refusals

_LAST = "default"  # what llama.cpp does where a file says nothing: taken where no model's own rule fits


def find_pre_tokenizer(layout: Mapping[str, Any]) -> str | None:
    """The name for a tokenizer.json; None where no rule of GGUF's cuts every probe in the same places.

    Raises `InvalidTokenizer` for a pre-tokenizer that cannot be built.
    """
    with refusals("tokenizer.json: pre_tokenizer"):
        own = _words(layout)
        rules = _distinct(bool(layout["model"].get("ignore_merges")))
        for text in (*TEXTS, every_character()):
            cut = own.pre_tokenize_str(text)
            rules = {name: words for name, words in rules.items() if words.pre_tokenize_str(text) == cut}
        return next(iter(rules), None)


def _words(layout: Mapping[str, Any]) -> Words:
    """The pre-tokenizer alone, without the vocabulary that takes long to load."""
    bare = {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": []}
    backend = Backend.from_str(json.dumps({**bare, "pre_tokenizer": layout.get("pre_tokenizer")}))
    words: Words | None = backend.pre_tokenizer
    if words is None:
        raise ValueError("there is none, and a byte-level vocabulary needs one")
    return words


def _distinct(ignores_merges: bool) -> dict[str, Words]:
    """A name for each rule, the best first: one that also treats merges alike, and no model's own last."""
    names: dict[PreTokenizer, str] = {}
    for name, rule in PRE_TOKENIZERS.items():
        if rule.byte_level:
            names.setdefault(rule, name)
    order = sorted(names.items(), key=lambda item: (item[0].ignore_merges != ignores_merges, item[1] == _LAST))
    return {name: words_of(rule) for rule, name in order}
