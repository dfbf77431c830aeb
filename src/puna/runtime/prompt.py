"""A request becomes a prompt: messages fitted to the context, written by the template, as token ids.

Knows nothing of engines, processes or sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from puna.chat import ContextReport, Message, history
from puna.errors import ContextOverflow, InvalidRequest
from puna.runtime.text import TextModel
from puna.runtime.types import ChatRequest, CompletionRequest, HistoryPolicy, Options, Prompt, Request

DEFAULT_CONTEXT = 8192  # tokens, where nobody says and the model was trained for as many
ANSWER_ROOM = 512  # tokens kept free for the answer when rounds have to be dropped, at most a quarter of the context

_MARK = "\ue000earlier\ue000"  # stands for an earlier text, which is there as token ids only


@dataclass(frozen=True, slots=True)
class ContextLength:
    """How many tokens a request may use, prompt and answer together, and what its sender must be told."""

    tokens: int
    warnings: tuple[str, ...] = ()


def context_length(options: Options, limit: int, default: int | None) -> ContextLength:
    """The request's or the model's own, else `default`, else DEFAULT_CONTEXT; at most the model's `limit`."""
    if options.context_length is None:
        return ContextLength(min(default or DEFAULT_CONTEXT, limit))
    if options.context_length <= limit:
        return ContextLength(options.context_length)
    warning = f"context length {options.context_length}: this model can be run with {limit}, which is used"
    return ContextLength(limit, (warning,))


def build(request: Request, model: TextModel, options: Options, context: ContextLength) -> Prompt:
    """What the model will see.

    Raises:
        ContextOverflow: the prompt does not fit, and nothing more may be dropped.
        TemplateError: the model's template refuses the messages.
        InvalidRequest: the prompt is empty, or has a token id that the model does not.
    """
    if "completion" not in model.local.details.capabilities:
        raise InvalidRequest(f'"{request.model}" does not support chat: it only makes embeddings')
    limit = context.tokens - 1  # the answer needs a token
    match request:
        case ChatRequest():
            messages = _with_own(request.messages, model)
            prompt = _fitted(messages, model, context.tokens, options.max_tokens, request.history)
        case CompletionRequest(raw=True):
            prompt = _counted(request.prompt, model.encode(request.prompt), context.tokens)
        case CompletionRequest(context=()):
            prompt = _fitted(_turn(request, model), model, context.tokens, options.max_tokens, "error")
        case CompletionRequest():
            prompt = _continued(request, model, context.tokens)
    if len(prompt.token_ids) > limit:
        raise ContextOverflow(
            f"the prompt has {len(prompt.token_ids)} tokens, which do not fit the context length of "
            f"{context.tokens}: shorten the prompt or raise the context length"
        )
    if not prompt.token_ids:
        raise InvalidRequest("the prompt has no tokens: say something")
    return replace(prompt, warnings=model.warnings + context.warnings)


def _with_own(messages: tuple[Message, ...], model: TextModel) -> tuple[Message, ...]:
    """The model's system prompt (unless the messages open with one), its example turns, the messages."""
    if not messages:
        raise InvalidRequest("there are no messages: send at least one")
    own, examples = model.local.system, model.local.messages
    if messages[0].role == "system":
        return (messages[0], *examples, *messages[1:])
    return (*([Message("system", own)] if own else []), *examples, *messages)


def _turn(request: CompletionRequest, model: TextModel) -> tuple[Message, ...]:
    system = () if not request.system else (Message("system", request.system),)
    return _with_own((*system, Message("user", request.prompt)), model)


def _fitted(
    messages: Sequence[Message], model: TextModel, context: int, max_tokens: int | None, policy: HistoryPolicy
) -> Prompt:
    room = 1 if policy == "error" else max(1, min(max_tokens or ANSWER_ROOM, ANSWER_ROOM, context // 4))

    def count(candidate: Sequence[Message]) -> int:
        return len(model.encode(model.render(candidate)))

    try:
        fitted = history.fit(messages, count=count, limit=context - room, policy=policy)
    except ContextOverflow:
        if room == 1:
            raise
        fitted = history.fit(messages, count=count, limit=context - 1, policy=policy)
    text = model.render(fitted.messages)
    return Prompt(text, tuple(model.encode(text)), replace(fitted.report, limit=context))


def _continued(request: CompletionRequest, model: TextModel, context: int) -> Prompt:
    """The new turn after the token ids of the earlier ones; the oldest of these go where they do not fit."""
    vocabulary = model.tokenizer.vocab_size
    for token in request.context:
        if not 0 <= token < vocabulary:
            raise InvalidRequest(f"context holds the token id {token}; this model's are 0 to {vocabulary - 1}")
    text = _next_turn(request, model)
    turn = model.tokenizer.encode(text, add_special=False, parse_special=True)
    kept = request.context[-max(0, context - 1 - len(turn)) :] if len(turn) < context - 1 else ()
    ids = (*kept, *turn)
    dropped = len(request.context) - len(kept)
    return Prompt(text, ids, ContextReport(context, len(ids), 0, dropped, "drop_oldest"))


def _next_turn(request: CompletionRequest, model: TextModel) -> str:
    """What the template writes after an answer: its end, and the new turn. A system prompt is given again."""
    user = Message("user", request.prompt)
    answered = (Message("user", _MARK), Message("assistant", _MARK))
    if not request.system:
        return model.render((*answered, user)).rpartition(_MARK)[2]
    end = model.render(answered, add_generation_prompt=False).rpartition(_MARK)[2]
    return end + model.render((Message("system", request.system), user))


def _counted(text: str, ids: Sequence[int], context: int) -> Prompt:
    return Prompt(text, tuple(ids), ContextReport(context, len(ids), 0, 0, "error"))
