"""What both dialects say about a reply, in headers and bodies: what did not fit, what was ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from puna.chat import ContextReport
from puna.errors import InvalidRequest
from puna.runtime import CacheReceipt, Embeddings, Finished, HistoryPolicy, Prompt, Ranking, TokenLogprob
from puna.server.body import PunaBody
from puna.server.encoding import json_text

MAX_LOGPROBS = 20
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


def debug_object(prompt: Prompt) -> dict[str, object]:
    """The prompt as the model would see it, as Ollama writes it for `_debug_render_only`."""
    return {"rendered_template": prompt.text, "image_count": len(prompt.images)}


def cache_object(receipt: CacheReceipt) -> dict[str, object]:
    """What the prefix cache gave, as JSON."""
    return {
        "cached_tokens": receipt.cached_tokens,
        "disk_tokens": receipt.disk_tokens,
        "reason": receipt.reason,
        "warnings": list(receipt.warnings),
    }


def logprob_object(token: TokenLogprob) -> dict[str, object]:
    """A token with its log-probability and its alternatives, which both dialects write alike."""
    own = {"token": token.text, "logprob": token.logprob, "bytes": list(token.bytes)}
    return {**own, "top_logprobs": [logprob_object(each) for each in token.top]} if token.top else own


def logprobs_asked(logprobs: bool, top_logprobs: int) -> int | None:
    """Alternatives to report beside each token's own log-probability; None: report nothing. Raises InvalidRequest."""
    if not 0 <= top_logprobs <= MAX_LOGPROBS:
        raise InvalidRequest(f"top_logprobs must be between 0 and {MAX_LOGPROBS}")
    return top_logprobs if logprobs else None


def headers(prompt: Prompt, warnings: Sequence[str]) -> Mapping[str, str]:
    """`x-puna-context`, and `x-puna-warnings` where there are any."""
    return {"x-puna-context": json_text(context_object(prompt.context)), **warning_headers(warnings)}


def warning_headers(warnings: Sequence[str]) -> Mapping[str, str]:
    """`x-puna-warnings` where there are any."""
    if not warnings:
        return {}
    text = json_text(list(warnings))
    return {"x-puna-warnings": text if len(text) <= MAX_HEADER else json_text([f"{len(warnings)} warnings"])}


def puna_object(prompt: Prompt, warnings: Sequence[str], finished: Finished) -> dict[str, object]:
    """Context, warnings, the prefix cache's receipt and whether a grammar held the answer, as one object."""
    return {
        "context": context_object(prompt.context),
        "warnings": list(warnings),
        "cache": cache_object(finished.usage.cache),
        **enforced_object(finished),
    }


def enforced_object(finished: Finished) -> dict[str, object]:
    """Whether the answer was held to what was asked for, if anything was, and whether its thought was cut."""
    held = {} if finished.grammar_enforced is None else {"grammar_enforced": finished.grammar_enforced}
    return {**held, **({"thought_cut": True} if finished.thought_cut else {})}


def cut_warnings(made: Embeddings | Ranking) -> tuple[str, ...]:
    """A warning for each text that was longer than the context."""
    return tuple(f"input {index} was cut to the context length" for index in made.truncated)


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
