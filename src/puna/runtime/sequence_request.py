"""From a prompt and its options to what an engine is asked for: token ids, limits and sampling parameters."""

from __future__ import annotations

from puna.engine import GenerationRequest, Priority, SamplingParams
from puna.runtime.types import CompletionRequest, Options, Prompt, Request
from puna.tokenizer import Tokenizer

_SAMPLING = (
    "temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "repeat_last_n",
    "presence_penalty", "frequency_penalty", "seed",
)  # fmt: skip


def sequence_request(
    request_id: str, prompt: Prompt, options: Options, tokenizer: Tokenizer, *, client: str = ""
) -> GenerationRequest:
    """What the engine runs for `prompt`. `options` are complete: the request's over the model's own.

    Raises:
        InvalidRequest: an option is out of its range, or a token id outside the vocabulary.
    """
    room = prompt.context.limit - len(prompt.token_ids)
    request = GenerationRequest(
        id=request_id,
        prompt=prompt.token_ids,
        max_tokens=room if options.max_tokens is None else min(options.max_tokens, room),
        stop_ids=tokenizer.eog_ids,
        sampling=_sampling(options),
        grammar=options.grammar,
        logprobs=options.logprobs,
        draft_tokens=options.draft_tokens,
        priority=options.priority or Priority.NORMAL,
        client=client,
    )
    request.check_vocabulary(tokenizer.vocab_size)
    return request


def continues(request: Request) -> bool:
    """Whether the answer goes on in the middle of a text, so that a blank it begins with is a real one."""
    return isinstance(request, CompletionRequest) and request.raw


def _sampling(options: Options) -> SamplingParams:
    given = {name: getattr(options, name) for name in _SAMPLING}
    bias = None if options.logit_bias is None else tuple(options.logit_bias.items())
    given["logit_bias"] = bias
    return SamplingParams(**{name: value for name, value in given.items() if value is not None})
