"""From a request and its prompt to what an engine is asked for, and to the `Answer` that its tokens become."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from puna.chat import AUTO
from puna.engine import GenerationRequest, Grammar, Priority, SamplingParams
from puna.engine.gbnf import to_lark
from puna.errors import InvalidRequest
from puna.runtime.answer import Answer
from puna.runtime.text import TextModel
from puna.runtime.types import ChatRequest, Options, Prompt, Request

_SAMPLING = (
    "temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "repeat_last_n",
    "presence_penalty", "frequency_penalty", "seed",
)  # fmt: skip


def sequence_request(
    request_id: str, request: Request, prompt: Prompt, options: Options, model: TextModel
) -> GenerationRequest:
    """What the engine runs for `prompt`. `options` are complete: the request's over the model's own.

    Raises:
        InvalidRequest: an option is out of its range, a token id outside the vocabulary, or no grammar can hold the
            answer to what is asked.
    """
    room = prompt.context.limit - len(prompt.token_ids)
    result = GenerationRequest(
        id=request_id,
        prompt=prompt.token_ids,
        max_tokens=room if options.max_tokens is None else min(options.max_tokens, room),
        stop_ids=model.tokenizer.eog_ids,
        sampling=_sampling(options),
        grammar=_grammar(request, prompt, options, model),
        logprobs=options.logprobs,
        draft_tokens=options.draft_tokens,
        priority=options.priority or Priority.NORMAL,
        client=request.client,
        adapter=model.local.adapter,
        images=prompt.images,
    )
    result.check_vocabulary(model.tokenizer.vocab_size)
    return result


def answer(request: Request, prompt: Prompt, options: Options, model: TextModel) -> Answer:
    """Takes the answer's tokens."""
    shown = frozenset(model.marks.values()) if prompt.chat else frozenset()
    return Answer(
        model.tokenizer.detokenizer(shown=shown, continues=prompt.continues),
        stops=options.stop or (),
        parser=model.answers.parser(prompt.text, tools=prompt.tools) if prompt.chat else None,
        one_call=isinstance(request, ChatRequest) and not request.parallel_tool_calls,
        thinking_tokens=options.thinking_tokens,
    )


def after_thought(
    first: GenerationRequest,
    written: Sequence[int],
    request: Request,
    prompt: Prompt,
    options: Options,
    model: TextModel,
) -> tuple[tuple[int, ...], GenerationRequest]:
    """The tokens that end the thought in which an answer stands after `written`, and what goes on after them.

    first: what ran so far.
    """
    end = model.answers.thought_end(tools=bool(prompt.tools))
    ending = tuple(model.tokenizer.encode(end, add_special=False, parse_special=True))
    if model.answers.channels:  # so that a grammar keeps the model from thinking again
        prompt = replace(prompt, tools=tuple(replace(tool, strict=True) for tool in prompt.tools))
    closed = replace(prompt, text=prompt.text + end)
    room = first.max_tokens or 0
    return ending, replace(
        first,
        id=f"{first.id}-on",
        prompt=(*first.prompt, *written, *ending),
        max_tokens=max(0, room - len(written) - len(ending)),
        grammar=_grammar(replace(request, think=False), closed, options, model),
    )


def grammar_enforced(request: Request, options: Options, sent: GenerationRequest) -> bool | None:
    """Whether the engine holds the answer to what was asked for; None where nothing was."""
    tools = isinstance(request, ChatRequest) and request.tools and request.tool_choice.kind != "none"
    return sent.grammar is not None if tools or options.grammar else None


def _grammar(request: Request, prompt: Prompt, options: Options, model: TextModel) -> Grammar | None:
    """What the whole answer is held to: its thoughts and calls too, where it may have some."""
    choice = request.tool_choice if isinstance(request, ChatRequest) else AUTO
    free_marks = not prompt.tools and choice.kind != "required" and not model.answers.supports_thinking
    if not prompt.chat or (free_marks and not model.answers.channels):
        return options.grammar
    source = model.answers.grammar(
        prompt=prompt.text,
        body=None if options.grammar is None else _body(options.grammar),
        tools=prompt.tools,
        tool_choice=choice,
        parallel=not isinstance(request, ChatRequest) or request.parallel_tool_calls,
        thinking=request.think is not False,
        control_tokens=model.marks,
    )
    return None if source is None else Grammar("lark", source)


@dataclass(frozen=True, slots=True)
class _Body:
    """A grammar as part of a larger one."""

    kind: Literal["json_schema", "regex", "lark"]
    source: str


def _body(grammar: Grammar) -> _Body:
    if grammar.kind == "gbnf":
        return _Body("lark", to_lark(grammar.source))
    if grammar.kind == "json_schema":
        try:
            json.loads(grammar.source)
        except ValueError as error:
            raise InvalidRequest(f"the JSON schema is not valid: {error}") from None
    return _Body(grammar.kind, grammar.source)


def _sampling(options: Options) -> SamplingParams:
    given = {name: getattr(options, name) for name in _SAMPLING}
    bias = None if options.logit_bias is None else tuple(options.logit_bias.items())
    given["logit_bias"] = bias
    return SamplingParams(**{name: value for name, value in given.items() if value is not None})
