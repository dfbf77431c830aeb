"""Requests are checked when they are made; events carry errors of our own types."""

from __future__ import annotations

import math
from typing import Any

import pytest

from puna.engine.types import ErrorEvent, GenerationRequest, SamplingParams
from puna.errors import ContextOverflow, InvalidRequest, PunaError


@pytest.mark.parametrize(
    "field",
    ["temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty"],
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", None, True])
def test_a_number_that_is_none_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=field):
        SamplingParams(**{field: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": -0.1},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"typical_p": 2},
        {"repeat_penalty": 0},
        {"repeat_penalty": -1},
        {"presence_penalty": 1e39},
        {"repeat_last_n": -2},
        {"top_k": 1.5},
        {"seed": 2**64},
        {"seed": 1.0},
        {"logit_bias": ((-1, 0.0),)},
        {"logit_bias": ((1, math.nan),)},
        {"logit_bias": ((1, math.inf),)},
    ],
)
def test_a_value_out_of_range_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(fields))):
        SamplingParams(**fields)


def test_the_message_says_what_is_allowed() -> None:
    with pytest.raises(InvalidRequest, match=r"^top_p is 1\.5; it must be between 0\.0 and 1\.0$"):
        SamplingParams(top_p=1.5)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="prompt has no tokens"):
        GenerationRequest("a", ())


@pytest.mark.parametrize("max_tokens", [-1, 1.5, True])
def test_max_tokens_is_a_count(max_tokens: Any) -> None:
    with pytest.raises(InvalidRequest, match="max_tokens"):
        GenerationRequest("a", (1,), max_tokens=max_tokens)


@pytest.mark.parametrize(
    "request_",
    [
        GenerationRequest("a", (1, 10)),
        GenerationRequest("a", (1, -1)),
        GenerationRequest("a", (1,), stop_ids=frozenset({10})),
        GenerationRequest("a", (1,), sampling=SamplingParams(logit_bias=((10, 1.0),))),
    ],
)
def test_ids_outside_the_vocabulary_are_refused(request_: GenerationRequest) -> None:
    with pytest.raises(InvalidRequest, match="outside the vocabulary"):
        request_.check_vocabulary(10)


def test_an_error_event_is_raised_as_its_own_type() -> None:
    assert type(ErrorEvent("a", "too long", "ContextOverflow").exception()) is ContextOverflow
    assert type(ErrorEvent("a", "what", "SystemExit").exception()) is PunaError
    assert "annotations" in str(ErrorEvent("a", "what", "annotations").exception())
