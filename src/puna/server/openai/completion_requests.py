"""The body of /v1/completions to the runtime's requests, with a warning for each field that is not honoured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeAlias

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from puna.errors import InvalidRequest
from puna.runtime import CompletionRequest
from puna.server.body import Integer
from puna.server.openai.sampling import SamplingBody, StreamOptions, unknown_warnings, with_seed
from puna.server.replies import MAX_LOGPROBS, refuse_if_strict

MAX_COMPLETIONS = 2048  # of one request, all prompts together; OpenAI's limit of prompts

TextOrTokens: TypeAlias = str | tuple[int, ...]


def _one_message(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    """Not one message for each of the possible types."""
    try:
        return validate(value)
    except ValidationError:
        text = "must be a text, its token ids, a list of texts, or a list of lists of token ids"
        raise PydanticCustomError("texts", text) from None


Texts: TypeAlias = Annotated[
    str | list[str] | list[Integer] | list[list[Integer]], WrapValidator(_one_message)
]  # a text, texts, a text's token ids, theirs


def texts_of(given: Texts) -> list[TextOrTokens]:
    """Each text or its token ids. An empty list holds none."""
    if isinstance(given, str):
        return [given]
    if given and all(isinstance(each, int) for each in given):
        return [tuple(given)]  # type: ignore[arg-type]
    return [each if isinstance(each, str) else tuple(each) for each in given]  # type: ignore[arg-type]


class CompletionBody(SamplingBody):
    """/v1/completions."""

    prompt: Texts = Field(
        default="", description="The text to continue as it stands, or its token ids; or a list of these."
    )
    suffix: str | None = Field(default=None, description="What comes after the answer, for a model that can insert.")
    stream_options: StreamOptions = Field(
        default=StreamOptions(), description="What a stream carries besides the answer."
    )
    max_tokens: Integer | None = Field(
        default=None, description="Tokens of the answer at most; 0: none. No limit where nobody says."
    )
    n: Integer = Field(default=1, description="How many answers to each prompt.")
    best_of: Integer | None = Field(
        default=None, description="Of so many answers the `n` with the highest log-probability per token."
    )
    logprobs: Integer | None = Field(
        default=None, description="Report each token's log-probability, and those of so many of the likeliest."
    )
    echo: bool = Field(default=False, description="Put the prompt before the answer.")
    response_format: dict[str, Any] | None = Field(
        default=None, description="Hold the answer to JSON or to a `grammar`, as in /v1/chat/completions."
    )

    @property
    def candidates(self) -> int:
        """How many answers to each prompt are generated."""
        return self.n if self.best_of is None else self.best_of

    def requests(self) -> tuple[list[CompletionRequest], tuple[str, ...]]:
        """`candidates` requests for each prompt in turn, with warnings. Raises InvalidRequest."""
        prompts = texts_of(self.prompt)
        self._refuse(len(prompts))
        ranked = 0 if self.candidates > self.n else None  # the best is found by its log-probabilities
        options, warnings = self.runtime_options(
            max_tokens=self.max_tokens,
            grammar=self.constraint(self.response_format),
            logprobs=ranked if self.logprobs is None else self.logprobs,
        )
        warnings += unknown_warnings(self)
        if self.stream_options.include_obfuscation:
            warnings.append("stream_options.include_obfuscation is not supported")
        refuse_if_strict(self.puna, warnings)
        first = CompletionRequest(
            model=self.model,
            prompt="",
            suffix=self.suffix,
            raw=True,
            options=options,
            keep_alive=self.keep_alive_seconds,
        )
        asked = [_of_prompt(first, prompt) for prompt in prompts]
        return [with_seed(each, index) for each in asked for index in range(self.candidates)], tuple(warnings)

    def _refuse(self, prompts: int) -> None:
        """What is out of range, or cannot be done."""
        self.checked_model()
        if self.n < 1 or prompts < 1 or prompts * self.candidates > MAX_COMPLETIONS:
            raise InvalidRequest(f"prompt and n must ask for 1 to {MAX_COMPLETIONS} answers")
        if self.best_of is not None and self.best_of < self.n:
            raise InvalidRequest(f"best_of must be at least n, which is {self.n}")
        if self.stream and self.candidates > self.n:
            raise InvalidRequest("best_of cannot be streamed: which is the best is known at the end")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise InvalidRequest(f"logprobs must be between 0 and {MAX_LOGPROBS}")
        if self.echo and self.logprobs is not None:
            raise InvalidRequest("echo with logprobs is not supported: the prompt's tokens have no log-probabilities")


def _of_prompt(request: CompletionRequest, prompt: str | Sequence[int]) -> CompletionRequest:
    if isinstance(prompt, str):
        return replace(request, prompt=prompt)
    return replace(request, context=tuple(prompt))
