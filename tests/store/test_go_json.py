import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.store import go_json

# Written by Go 1.19's json.Encoder.
BY_GO: list[tuple[object, str]] = [
    (0.8, "0.8"),
    (1.0, "1"),
    (-0.0, "-0"),
    (1e20, "100000000000000000000"),
    (1e21, "1e+21"),
    (1e-6, "0.000001"),
    (9.9e-7, "9.9e-7"),
    (1e-10, "1e-10"),
    (5e-324, "5e-324"),
    (0.1 + 0.2, "0.30000000000000004"),
    (np.float32(0.1), "0.1"),
    (np.float32(1e-7), "1e-7"),
    (np.float32(16777216), "16777216"),
    (4096, "4096"),
    (True, "true"),
    (None, "null"),
    ("<|im_end|> & \u2028\u2029\x7f\t\x01", r'"\u003c|im_end|\u003e \u0026 \u2028\u2029' + '\x7f\\t\\u0001"'),
    ('你好 \U0001f600 "\\', '"你好 \U0001f600 \\"\\\\"'),
    ("\ud800", '"\ufffd"'),
    ({"b": [1, 2.5, "x"], "a": {}}, '{"b":[1,2.5,"x"],"a":{}}'),
]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(("value", "text"), BY_GO, ids=[text for _, text in BY_GO])
def test_a_value_has_go_s_bytes(value: object, text: str) -> None:
    assert go_json.encode(value) == f"{text}\n".encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float32(math.nan), [-math.inf]])
def test_what_json_does_not_have_is_not_written(value: object) -> None:
    with pytest.raises(ValueError, match="not a number"):
        go_json.encode(value)


@settings(max_examples=40)
@given(VALUES)
def test_no_value_is_changed_on_its_way(value: object) -> None:
    assert json.loads(go_json.encode(value), parse_int=float) == value
