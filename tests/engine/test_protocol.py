"""What goes into the pipe comes out equal; anything else is told apart from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.engine.protocol import (
    Cancel,
    Command,
    Embed,
    Loaded,
    LoadFailed,
    Message,
    Progress,
    ProtocolError,
    Submit,
    decode_command,
    decode_message,
    encode,
)
from puna.engine.types import (
    CacheReceipt,
    EmbeddingEvent,
    EmbeddingRequest,
    EngineUsage,
    ErrorEvent,
    FinishedEvent,
    GenerationRequest,
    Grammar,
    Priority,
    SamplingParams,
    TokenEvent,
    TokenLogprobs,
)

text = st.text(st.characters(codec="utf-8"), max_size=20)  # newlines, quotes and NUL included
count = st.integers(0, 2**31)
seconds = st.floats(0, 1e9)
receipt = st.builds(CacheReceipt, count, count, text, st.lists(text).map(tuple))
usage = st.builds(EngineUsage, count, receipt, count, seconds, seconds, seconds)
sampling = st.builds(
    SamplingParams,
    temperature=st.floats(0, 5),
    top_p=st.floats(0, 1),
    logit_bias=st.lists(st.tuples(count, st.sampled_from([float("-inf"), 0.1]))).map(tuple),
    seed=st.none() | st.integers(-(2**63), 2**64 - 1),
)
logprob = st.floats(-1000, 0)
logprobs = st.builds(TokenLogprobs, logprob, st.lists(st.tuples(count, logprob)).map(tuple))
grammar = st.builds(Grammar, st.sampled_from(["json_schema", "regex", "lark"]), text)
request = st.builds(
    GenerationRequest,
    text,
    st.lists(count, min_size=1).map(tuple),
    st.none() | count,
    st.frozensets(count),
    sampling,
    st.none() | grammar,
    st.none() | st.integers(0, 20),
    st.none() | count,
)
embedding = st.builds(EmbeddingRequest, text, st.lists(count).map(tuple), st.sampled_from(Priority), text)
commands = st.builds(Submit, request) | st.builds(Embed, embedding) | st.builds(Cancel, text)
messages = st.one_of(
    st.builds(TokenEvent, text, count, st.none() | logprobs),
    st.builds(EmbeddingEvent, text, st.binary()),
    st.builds(FinishedEvent, text, st.sampled_from(["stop", "length", "cancelled"]), usage),
    st.builds(ErrorEvent, text, text, text),
    st.builds(Progress, text, count, count),
    st.builds(Loaded, count, count, count, seconds),
    st.builds(LoadFailed, text, text),
)


@given(commands)
def test_a_command_survives_the_pipe(command: Command) -> None:
    line = encode(command)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode_command(line) == command


@given(messages)
def test_a_message_survives_the_pipe(message: Message) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode_message(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello from a library\n",
        b"3\n",
        b"[]\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"kind":"TokenEvent"}\n',
        b'{"kind":"TokenEvent","id":"a","token":1,"more":2}\n',
        b'{"kind":"FinishedEvent","id":"a","reason":"stop","usage":[]}\n',
        b'{"kind":"Submit","request":{}}\n',
        b'{"kind":"Submit","request":3}\n',
        b'{"kind":"Cancel"}\n',
        b'{"kind":["Cancel"]}\n',
    ],
)
def test_any_other_line_is_a_protocol_error_on_both_sides(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_message(line)
    with pytest.raises(ProtocolError):
        decode_command(line)
