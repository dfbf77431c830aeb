"""Which tokens are special, and which end an answer: what GGUF files leave out or get wrong.

Many files mark a control token as text, and few say all the tokens that end a generation; llama.cpp knows both
by the tokens' texts, and so do we. Knows texts and types only, not how text is split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum


class TokenType(IntEnum):
    """GGUF's `tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# Texts that end a generation wherever they are a token.
END_TEXTS = frozenset(
    {
        "<|eot_id|>",
        "<|eom_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|calls|>",
        "<|flush|>",
        "<end_of_turn>",
        "<turn|>",
        "<|tool_response>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<end_of_utterance>",
        "</s>",
        "<eos>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "[e~[",
    }
)

# Fill-in-the-middle tokens; a model that writes one of the first group has left the text it was to fill in.
FIM_END_TEXTS = frozenset(
    {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}
    | {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>"}
)
FIM_TEXTS = frozenset(
    {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<\uff5cfim\u2581begin\uff5c>", "<PRE>", "\u2581<PRE>"}
    | {
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<\uff5cfim\u2581hole\uff5c>",
        "<SUF>",
        "\u2581<SUF>",
    }
    | {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<\uff5cfim\u2581end\uff5c>", "<MID>", "\u2581<MID>"}
    | {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", "<|prefix|>", "<|suffix|>", "<|middle|>"}
)


# Added tokens of some folders (Command R, DeepSeek Coder, Gemma 2, Qwen 2.5) that are control tokens and not marked so.
_CONTROL_TEXTS = frozenset({"<pad>", "<mask>", "<2mass>", "[@BOS@]"})
_CONTROL_FORMS = (("<|", "|>"), ("<\uff5c", "\uff5c>"), ("<unused", ">"))


def is_control(text: str) -> bool:
    """Whether an added token is a control token by its text (llama.cpp's rule, and what it knows of each text)."""
    known = text in END_TEXTS or text in FIM_END_TEXTS or text in FIM_TEXTS or text in _CONTROL_TEXTS
    return known or any(text.startswith(begin) and text.endswith(end) for begin, end in _CONTROL_FORMS)


def corrected_types(ids: Mapping[str, int], types: Sequence[int]) -> list[int]:
    """The token types with every well-known control token (by its text) marked as one."""
    corrected = list(types)
    for text in END_TEXTS | FIM_END_TEXTS | FIM_TEXTS:
        if text in ids:
            corrected[ids[text]] = TokenType.CONTROL
    if _html_not_end(ids):
        corrected[ids["</s>"]] = TokenType.NORMAL
    return corrected


def end_of_generation(ids: Mapping[str, int], named: Sequence[int | None]) -> frozenset[int]:
    """The ids that end an answer: `named` ones (the file's eos, eot, eom) and those known by their text."""
    texts = {text for text in END_TEXTS | FIM_END_TEXTS if text in ids}
    # Harmony (gpt-oss) and Solar: <|end|> closes one message of an answer, other tokens close the answer.
    if {"<|return|>", "<|call|>"} <= texts or ({"<|call|>", "<|calls|>"} & texts and "<|flush|>" in texts):
        texts.discard("<|end|>")
    if _html_not_end(ids):
        texts.discard("</s>")
    return frozenset({ids[text] for text in texts} | {i for i in named if i is not None})


def _html_not_end(ids: Mapping[str, int]) -> bool:
    """Whether `</s>` is HTML's strikethrough: in Gemma 4, whose own end is <eos>."""
    return "<|tool_response>" in ids and "</s>" in ids
