"""History: what is kept, what is dropped, and that the report tells the truth of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.chat import Message, ToolCall, fit
from puna.chat.history import Policy, split_rounds
from puna.errors import ContextOverflow, InvalidRequest

SYSTEM = Message("system", "s" * 10)


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str) -> Message:
    return Message("assistant", text)


def calling(*ids: str | None) -> Message:
    return Message("assistant", "", tool_calls=tuple(ToolCall(call, "f") for call in ids))


def result(call: str | None = None) -> Message:
    return Message("tool", "r", tool_call_id=call)


def size(messages: Sequence[Message]) -> int:
    """Ten for a message, and its text: grows with the conversation, as tokens do."""
    return sum(10 + len(message.content) for message in messages)


contents = st.text(alphabet="x", max_size=30)
ids = st.sampled_from(["c1", "c2", "c3"]) | st.none()
messages_of = st.lists(
    st.one_of(
        contents.map(user),
        contents.map(assistant),
        contents.map(lambda text: Message("system", text)),
        st.lists(ids, min_size=1, max_size=2).map(lambda calls: calling(*calls)),
        ids.map(result),
    ),
    min_size=1,
    max_size=14,
)


def answered_call(messages: Sequence[Message], index: int) -> Message | None:
    """The message whose call the result at `index` answers: by id, else the last one that called."""
    callers = [message for message in messages[:index] if message.tool_calls]
    wanted = messages[index].tool_call_id
    named = [message for message in callers if wanted and any(call.id == wanted for call in message.tool_calls)]
    return next(reversed(named or callers), None)


@given(messages_of, st.integers(min_value=1, max_value=400))
def test_dropping_keeps_what_must_be_kept_and_no_less_than_fits(messages: list[Message], limit: int) -> None:
    messages = [Message(m.role, f"{m.content}#{i}", None, m.tool_calls, m.tool_call_id) for i, m in enumerate(messages)]
    try:
        fitted = fit(messages, count=size, limit=limit)
    except ContextOverflow:
        newest = split_rounds(messages)[-1]
        kept = [m for m in messages[: newest.start] if m.role == "system"][:1] + messages[newest.start :]
        assert size(kept) > limit
        return
    kept, report = list(fitted.messages), fitted.report

    positions = [messages.index(message) for message in kept]
    assert positions == sorted(positions), "order"
    systems = [message for message in messages if message.role == "system"]
    assert systems[:1] == [message for message in kept if message.role == "system"][:1], "first system message"
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    assert set(range(users[-1] if users else 0, len(messages))) <= set(positions), "last user message and all after"
    for index, message in enumerate(messages):
        if message.role == "tool" and message in kept:
            call = answered_call(messages, index)
            assert call is None or call in kept, "a result without its call"

    assert report.prompt_tokens == size(kept) <= limit == report.limit
    assert report.dropped_messages == len(messages) - len(kept)
    assert report.dropped_tokens == size(messages) - size(kept)
    assert report.policy == "drop_oldest"
    if report.dropped_messages:
        assert size(messages) > limit, "dropped without need"


@given(messages_of, st.integers(min_value=1, max_value=400))
def test_one_round_more_would_not_fit(messages: list[Message], limit: int) -> None:
    try:
        kept = fit(messages, count=size, limit=limit).messages
    except ContextOverflow:
        return
    rounds = split_rounds(messages)
    for dropped in range(len(rounds)):
        system = [m for m in messages[: rounds[dropped].start] if m.role == "system"][:1]
        candidate = messages if not dropped else [*system, *messages[rounds[dropped].start :]]
        if size(candidate) <= limit:
            assert list(kept) == list(candidate)
            return


@given(messages_of)
def test_rounds_cover_all_messages_in_order(messages: list[Message]) -> None:
    assert [index for part in split_rounds(messages) for index in part] == list(range(len(messages)))


@given(messages_of, st.integers(min_value=1, max_value=6))
def test_a_number_keeps_that_many_rounds_even_when_more_fit(messages: list[Message], number: int) -> None:
    fitted = fit(messages, count=size, limit=10_000, policy=number)
    rounds = split_rounds(messages)
    first = rounds[max(0, len(rounds) - number)].start
    kept_before = [m for m in messages[:first] if m.role == "system"][:1] if len(rounds) > number else messages[:first]
    assert list(fitted.messages) == [*kept_before, *messages[first:]]
    assert fitted.report.policy == str(number)


def test_nothing_is_dropped_when_all_fits() -> None:
    messages = (SYSTEM, user("a"), assistant("b"), user("c"))
    fitted = fit(messages, count=size, limit=size(messages))
    assert fitted.messages == messages
    assert fitted.report.dropped_messages == fitted.report.dropped_tokens == 0


def test_the_oldest_rounds_go_first_and_whole() -> None:
    old = [user("1"), calling("c1"), result("c1"), assistant("2")]
    new = [user("3"), assistant("4"), user("5")]
    fitted = fit([SYSTEM, *old, *new], count=size, limit=size([SYSTEM, *old, *new]) - 1)
    assert fitted.messages == (SYSTEM, *new)
    assert fitted.report.dropped_messages == 4
    assert fitted.report.dropped_tokens == size(old)


def test_the_last_round_keeps_its_calls_and_results() -> None:
    last = [user("now"), calling("c1", "c2"), result("c1"), result("c2")]
    fitted = fit([SYSTEM, user("old"), assistant("old"), *last], count=size, limit=size([SYSTEM, *last]))
    assert fitted.messages == (SYSTEM, *last)


def test_a_result_that_comes_late_stays_with_its_call() -> None:
    late = [user("look"), calling("c1"), user("hurry"), result("c1")]
    fitted = fit([user("old" * 20), *late], count=size, limit=size(late))
    assert fitted.messages == tuple(late)


def test_a_greeting_before_the_first_user_message_is_dropped_first() -> None:
    chat = [SYSTEM, assistant("welcome"), user("hi")]
    assert fit(chat, count=size, limit=size(chat) - 1).messages == (SYSTEM, user("hi"))


def test_a_later_system_message_goes_with_its_round() -> None:
    later = Message("system", "later")
    chat = [SYSTEM, user("1"), later, assistant("2"), user("3")]
    assert fit(chat, count=size, limit=size(chat) - 1).messages == (SYSTEM, user("3"))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("drop_oldest", "the system message and the last round .2 of 4 messages.* need 40 prompt tokens.* limit is 39"),
        ("error", "the conversation's 4 messages need 62 prompt tokens, but the limit is 39"),
        (2, "the newest 2 rounds .4 messages. need 62 prompt tokens, but the limit is 39"),
    ],
)
def test_what_cannot_fit_is_an_error_with_the_numbers(policy: Policy, message: str) -> None:
    chat = [SYSTEM, user("1"), assistant("2"), user("x" * 10)]
    with pytest.raises(ContextOverflow, match=message):
        fit(chat, count=size, limit=39, policy=policy)


def test_the_error_policy_drops_nothing() -> None:
    chat = [SYSTEM, user("1"), assistant("2"), user("3")]
    assert fit(chat, count=size, limit=1000, policy="error").messages == tuple(chat)


@pytest.mark.parametrize(("policy", "limit"), [("drop", 10), (0, 10), (-1, 10), (True, 10), ("drop_oldest", 0)])
def test_a_wrong_policy_or_limit_is_refused(policy: Policy, limit: int) -> None:
    with pytest.raises(InvalidRequest):
        fit([user("hi")], count=size, limit=limit, policy=policy)


def test_no_messages_fit() -> None:
    assert fit([], count=size, limit=1).messages == ()


def test_a_thousand_rounds_are_counted_a_dozen_times() -> None:
    calls = 0

    def counting(messages: Sequence[Message]) -> int:
        nonlocal calls
        calls += 1
        return size(messages)

    fit([message for _ in range(1000) for message in (user("a"), assistant("b"))], count=counting, limit=5000)
    assert calls <= 12
