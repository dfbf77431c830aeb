"""What both dialects say about a reply, in headers and bodies: what did not fit, what was ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from puna.chat import ContextReport
from puna.errors import InvalidRequest
from puna.runtime import HistoryPolicy, Prompt
from puna.server.body import PunaBody
from puna.server.encoding import json_text

MAX_HEADER = 4096  # characters of a header; the body always has everything


def context_object(report: ContextReport) -> dict[str, object]:
    """The context report as JSON."""
    return {
        "limit": report.limit,
        "prompt_tokens": report.prompt_tokens,
        "dropped_messages": report.dropped_messages,
        "dropped_tokens": report.dropped_tokens,
        "policy": report.policy,
    }


def headers(prompt: Prompt, warnings: Sequence[str]) -> Mapping[str, str]:
    """`x-puna-context`, and `x-puna-warnings` where there are any."""
    result = {"x-puna-context": json_text(context_object(prompt.context))}
    if warnings:
        text = json_text(list(warnings))
        result["x-puna-warnings"] = text if len(text) <= MAX_HEADER else json_text([f"{len(warnings)} warnings"])
    return result


def puna_object(prompt: Prompt, warnings: Sequence[str]) -> dict[str, object]:
    """Context and warnings as one object."""
    return {"context": context_object(prompt.context), "warnings": list(warnings)}


def history_policy(puna: PunaBody) -> HistoryPolicy:
    """The policy asked for. Raises InvalidRequest for an unknown one."""
    match puna.history:
        case "drop_oldest" | "error":
            return puna.history
        case int() as rounds:
            return rounds
    raise InvalidRequest(f"puna.history must be 'drop_oldest', 'error' or a number of rounds, not {puna.history!r}")


def refuse_if_strict(puna: PunaBody, warnings: Sequence[str]) -> None:
    """With `puna: {"strict": true}`, what would be a warning is an error."""
    if puna.strict and warnings:
        raise InvalidRequest("; ".join(warnings))
