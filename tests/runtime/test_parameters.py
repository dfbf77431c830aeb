import math

import pytest

from puna.errors import InvalidRequest
from puna.runtime import Options
from puna.runtime.parameters import parse_parameters


def test_every_option_of_ollama_reaches_its_field() -> None:
    options, warnings = parse_parameters(
        {
            "num_ctx": 4096,
            "num_predict": 7,
            "stop": ["a", "b"],
            "seed": 3,
            "temperature": 0,
            "top_k": 5.0,
            "top_p": 0.5,
            "min_p": 0.1,
            "typical_p": 0.9,
            "repeat_penalty": 1.1,
            "repeat_last_n": -1,
            "presence_penalty": 0.2,
            "frequency_penalty": 0.3,
            "logit_bias": {"5": -100, "6": 1},
        }
    )
    assert warnings == ()
    assert options == Options(4096, 7, ("a", "b"), 0.0, 5, 0.5, 0.1, 0.9, 1.1, -1, 0.2, 0.3, {5: -math.inf, 6: 1.0}, 3)


def test_nulls_count_as_absent() -> None:
    assert parse_parameters({"num_ctx": None, "stop": None, "mirostat": None}) == (Options(), ())


def test_an_option_that_changes_nothing_is_reported_not_dropped() -> None:
    _, warnings = parse_parameters({"num_gpu": 1, "tempreature": 1})
    assert warnings == (
        "option 'num_gpu' is not supported: it was ignored",
        "option 'tempreature' is unknown: it was ignored",
    )


@pytest.mark.parametrize("limit", [-1, -2])
def test_no_limit_is_not_read_as_a_negative_number(limit: int) -> None:
    assert parse_parameters({"num_predict": limit, "seed": -1})[0] == Options()


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("num_ctx", "4096", "integer"),
        ("num_ctx", 0.5, "integer"),
        ("num_ctx", True, "integer"),
        ("temperature", "hot", "float32"),
        ("stop", [1], "array of strings"),
        ("stop", {}, "array of strings"),
        ("logit_bias", [], "object"),
        ("top_k", 1e-3, "integer"),
        ("logit_bias", {"1": "x"}, "float32"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_ollamas_words(name: str, value: object, kind: str) -> None:
    with pytest.raises(InvalidRequest, match=f'option "{name}" must be of type {kind}'):
        parse_parameters({name: value})


def test_a_number_beyond_floats_is_refused_not_crashed_on() -> None:
    with pytest.raises(InvalidRequest, match="too large"):
        parse_parameters({"temperature": 10**400})


def test_a_request_wins_over_the_model() -> None:
    assert Options(top_k=1).over(Options(top_k=2, top_p=0.5)) == Options(top_k=1, top_p=0.5)
