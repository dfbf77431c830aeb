"""Fits a conversation that outgrew the context: the oldest rounds go first, and what went is reported.

A round is a user message with all that answers it, so a tool call and its result stay or go together.
Knows nothing of templates or tokenizers: the caller's `count` renders and tokenizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from puna.chat.messages import Message
from puna.errors import ContextOverflow, InvalidRequest

Policy = Literal["drop_oldest", "error"] | int
Count = Callable[[Sequence[Message]], int]


@dataclass(frozen=True, slots=True)
class ContextReport:
    """What fitting did. Token figures are prompt tokens, as `count` gives them; `policy` is the one asked for."""

    limit: int
    prompt_tokens: int
    dropped_messages: int
    dropped_tokens: int
    policy: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """The messages that are left, in their order, and the report of what went."""

    messages: tuple[Message, ...]
    report: ContextReport


def fit(messages: Sequence[Message], *, count: Count, limit: int, policy: Policy = "drop_oldest") -> Fitted:
    """The longest ending of the conversation whose prompt has at most `limit` tokens, after its first system message.

    The first system message and the last round are always kept. Policies: `drop_oldest` drops whole rounds, oldest
    first, and no more than it must; `error` drops nothing; an int keeps that many of the newest rounds, no more and
    no fewer (all, if there are fewer).

    `count` is called at most 2 + log2(rounds) times. Where it does not grow with the conversation (a template that
    strips old reasoning, say), the result still fits, and one round more still would not.

    Raises `ContextOverflow` when what must be kept does not fit, `InvalidRequest` for an unknown policy.
    """
    _check(limit, policy)
    rounds = split_rounds(messages)
    newest = len(rounds) - 1
    least_dropped, most_dropped = 0, newest
    if policy == "error":
        most_dropped = 0
    elif isinstance(policy, int):
        least_dropped = most_dropped = max(0, len(rounds) - policy)

    def keep(dropped: int) -> tuple[Message, ...]:
        return _kept(messages, rounds, dropped)

    full_tokens = count(keep(0))
    tokens = {0: full_tokens}

    def fits(dropped: int) -> bool:
        if dropped not in tokens:
            tokens[dropped] = count(keep(dropped))
        return tokens[dropped] <= limit

    dropped = _smallest(least_dropped, most_dropped, fits)
    kept = keep(dropped)
    if not fits(dropped):
        raise ContextOverflow(_overflow(len(messages), len(kept), tokens[dropped], limit, policy))
    report = ContextReport(
        limit=limit,
        prompt_tokens=tokens[dropped],
        dropped_messages=len(messages) - len(kept),
        dropped_tokens=max(0, full_tokens - tokens[dropped]),
        policy=str(policy),
    )
    return Fitted(kept, report)


def split_rounds(messages: Sequence[Message]) -> list[range]:
    """The rounds as ranges of indices, oldest first; together they cover every message. Empty only for no messages.

    A round starts at a user message; what precedes the first one joins it when it is only system messages, and is a
    round of its own otherwise (an assistant's greeting). A tool result that comes after a later user message
    joins the rounds between it and its call.
    """
    starts = [index for index, message in enumerate(messages) if message.role == "user"]
    opening = starts[0] if starts else len(messages)
    if any(message.role != "system" for message in messages[:opening]) or not starts:
        starts = [0, *starts]
    else:
        starts[0] = 0
    for result, message in enumerate(messages):
        if message.role == "tool":
            call = _call_index(messages, result)
            starts = [start for start in starts if not call < start <= result]
    ends = [*starts[1:], len(messages)]
    return [range(start, end) for start, end in zip(starts, ends, strict=True)] if messages else []


def _call_index(messages: Sequence[Message], result: int) -> int:
    """Where the call stands that message `result` answers: by id, else the nearest message that calls; else itself."""
    callers = [index for index in range(result - 1, -1, -1) if messages[index].tool_calls]
    wanted = messages[result].tool_call_id
    by_id = (index for index in callers if any(call.id == wanted for call in messages[index].tool_calls))
    if wanted is not None and (found := next(by_id, None)) is not None:
        return found
    return callers[0] if callers else result


def _kept(messages: Sequence[Message], rounds: list[range], dropped: int) -> tuple[Message, ...]:
    if not dropped:
        return tuple(messages)
    first = rounds[dropped].start
    system = next((index for index, message in enumerate(messages) if message.role == "system"), first)
    head = (messages[system],) if system < first else ()
    return (*head, *messages[first:])


def _smallest(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The smallest value from low to high that `holds`, by bisection; `high` when none does."""
    if low >= high or holds(low):
        return low
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def _check(limit: int, policy: Policy) -> None:
    if limit < 1:
        raise InvalidRequest(f"the context limit must be at least 1 token, not {limit}")
    if isinstance(policy, int) and not isinstance(policy, bool):
        if policy < 1:
            raise InvalidRequest(f"a history policy of {policy} rounds keeps nothing; give 1 or more")
    elif policy not in ("drop_oldest", "error"):
        raise InvalidRequest(f"unknown history policy {policy!r}; use 'drop_oldest', 'error' or a number of rounds")


def _overflow(messages: int, kept: int, tokens: int, limit: int, policy: Policy) -> str:
    if policy == "error":
        what = f"the conversation's {messages} messages"
        advice = "shorten it, raise the context length, or use the history policy 'drop_oldest'"
    elif isinstance(policy, int):
        what = f"the newest {policy} rounds ({kept} messages)"
        advice = "keep fewer rounds, raise the context length, or use the history policy 'drop_oldest'"
    else:
        what = f"the system message and the last round ({kept} of {messages} messages), which must be kept,"
        advice = "shorten them or raise the context length"
    return f"{what} need {tokens} prompt tokens, but the limit is {limit}: {advice}"
