"""What a model writes, put together from tokens of any cut, with what belongs to each piece."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from puna.chat import ChatTemplate, Tool
from puna.chat.answers import AnswerFormat
from puna.runtime import TextModel
from puna.runtime.answer import Answer
from puna.runtime.types import Delta, TokenLogprob
from puna.store import Store
from tests.server.variant import THINKER

TOKENIZER = TextModel.open(Store().resolve("cria")).tokenizer
FORMAT = AnswerFormat.of(ChatTemplate(THINKER))
WEATHER = Tool("weather", "of a city", {"type": "object", "properties": {"city": {"type": "string"}}})
THOUGHT = "I think so.\n\n"
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "深圳"}}\n</tool_call>'


def tokens_of(text: str, cuts: Sequence[int] = ()) -> list[int]:
    """Ids of the text; it is encoded in pieces, so that other tokens come out than the usual ones."""
    ends = sorted({*(cut % (len(text) + 1) for cut in cuts), len(text)})
    starts = [0, *ends]
    pieces = [text[start:end] for start, end in zip(starts, ends, strict=False)]
    return [token for piece in pieces for token in TOKENIZER.encode(piece, add_special=False)]


def answered(
    tokens: Sequence[int],
    *,
    stops: Sequence[str] = (),
    prompt: str = "<think>\n",
    plain: bool = False,
    one_call: bool = False,
) -> tuple[Answer, list[Delta]]:
    parser = None if plain else FORMAT.parser(prompt, tools=[WEATHER])
    answer = Answer(TOKENIZER.detokenizer(), stops=stops, parser=parser, one_call=one_call)
    deltas: list[Delta] = []
    for token in tokens:
        if answer.ended():
            break
        piece = TOKENIZER.token_bytes(token)
        deltas += answer.push(token, TokenLogprob(piece.decode(errors="replace"), piece, -1.0))
    return answer, deltas + answer.finish()


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def spelt(deltas: Sequence[Delta]) -> str:
    """The tokens that the log-probabilities are of."""
    return b"".join(each.bytes for delta in deltas for each in delta.logprobs).decode(errors="replace")


@given(st.lists(st.integers(0, 200), max_size=12))
def test_however_it_is_cut_thought_text_and_call_are_told_apart_and_counted(cuts: list[int]) -> None:
    tokens = tokens_of(f"{THOUGHT}</think>\n\nIt is é: 5 < 6.\n{CALL}", cuts)
    answer, deltas = answered(tokens)
    assert "".join(delta.thinking for delta in deltas) == THOUGHT.strip()
    assert text_of(deltas) == "It is é: 5 < 6."
    [call] = [call for delta in deltas for call in delta.tool_calls]
    assert (call.name, call.arguments) == ("weather", {"city": "深圳"})
    assert call.id
    assert answer.called
    assert spelt(deltas).strip().startswith("It is é: 5 < 6.")
    assert len(spelt(deltas)) < len("It is é: 5 < 6.") + 12, "no token of a mark or a call is among the text's"
    assert 0 < answer.reasoning_tokens <= len(tokens)
    assert all(delta.text or delta.thinking or delta.tool_calls for delta in deltas)
    assert all(math.isclose(each.logprob, -1) for delta in deltas for each in delta.logprobs)


def test_thinking_tokens_are_counted_exactly_where_marks_are_their_own_tokens() -> None:
    thought = TOKENIZER.encode("one two three", add_special=False)
    rest = TOKENIZER.encode("</think>\n\nyes", add_special=False)
    answer, deltas = answered([*thought, *rest])
    assert answer.reasoning_tokens == len(thought)
    assert text_of(deltas) == "yes"
    assert "<think>" not in "".join(delta.thinking for delta in deltas)


@given(st.lists(st.integers(0, 100)), st.integers(4, 30))
def test_a_thought_is_too_long_when_it_has_its_tokens_however_they_are_cut(cuts: list[int], limit: int) -> None:
    tokens = tokens_of("one\n\ntwo three " * 8 + "</think>yes", cuts)
    answer = Answer(TOKENIZER.detokenizer(), parser=FORMAT.parser("<think>\n"), thinking_tokens=limit)
    spent = 0
    while not answer.thought_too_long and spent < len(tokens):
        answer.push(tokens[spent])
        spent += 1
    assert spent == limit or not answer.thought_too_long
    assert answer.reasoning_tokens <= limit
    for token in tokens_of("</think>yes"):
        answer.push(token)
    assert not answer.thought_too_long, "the thought is over"


def test_a_mark_that_has_begun_is_not_cut() -> None:
    answer = Answer(TOKENIZER.detokenizer(), parser=FORMAT.parser("<think>\n"), thinking_tokens=3)
    for token in tokens_of("one two"):
        answer.push(token)
    for character in "</think>":
        assert not answer.thought_too_long or character == "<"
        [token] = tokens_of(character)
        answer.push(token)
    assert not answer.thought_too_long


def test_a_stop_string_ends_a_thought_too_and_is_never_shown() -> None:
    answer, deltas = answered(tokens_of("I think so.</think>yes"), stops=["so"])
    assert "".join(delta.thinking for delta in deltas) == "I think "
    assert text_of(deltas) == ""
    assert answer.stop_string == "so"
    assert not answer.called


def test_where_one_call_is_allowed_the_answer_ends_with_it() -> None:
    tokens = tokens_of(f"{CALL}{CALL} and more")
    answer, deltas = answered(tokens, prompt="", one_call=True)
    assert sum(len(delta.tool_calls) for delta in deltas) == 1
    assert answer.ended()
    assert text_of(deltas) == ""
    _, both = answered(tokens, prompt="")
    assert sum(len(delta.tool_calls) for delta in both) == 2


def test_a_call_that_is_cut_short_is_text() -> None:
    answer, deltas = answered(tokens_of(CALL[:-30]), prompt="")
    assert text_of(deltas) == CALL[:-30]
    assert not answer.called
    assert spelt(deltas) == CALL[:-30], "its tokens are then those of text"


def test_without_a_parser_all_is_text() -> None:
    whole = f"<think>{THOUGHT}</think>{CALL}"
    _, deltas = answered(tokens_of(whole), plain=True)
    assert text_of(deltas) == whole
    assert spelt(deltas) == whole


def test_marks_that_are_control_tokens_reach_the_parser_and_others_are_not_shown() -> None:
    ids = TOKENIZER.encode("<|im_start|>hi<|im_end|>", add_special=False, parse_special=True)
    assert TOKENIZER.decode(ids) == "hi"
    shown = TOKENIZER.detokenizer(shown=frozenset({TOKENIZER.control_tokens["<|im_start|>"]}))
    assert "".join(map(shown.push, ids)) == "<|im_start|>hi"
