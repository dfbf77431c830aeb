"""The body of /v1/responses to the runtime's request, with a warning for each field that is not honoured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from puna.errors import InvalidRequest
from puna.runtime import ChatRequest, HistoryPolicy
from puna.server.body import Body, Integer
from puna.server.openai.response_items import SearchItem, items_of, messages_of
from puna.server.openai.sampling import StreamOptions, ThinkingBody, unknown_warnings
from puna.server.openai.tools import FlatToolBody, flat_tools
from puna.server.replies import history_policy, logprobs_asked, refuse_if_strict

LOGPROBS = "message.output_text.logprobs"  # what `include` can add
RESULTS = "file_search_call.results"


class TextBody(Body):
    """What the text is to be."""

    format: dict[str, Any] | None = Field(default=None, description="text, json_object, or json_schema with a schema.")
    verbosity: str | None = Field(default=None, description="Not supported.")


class ReasoningBody(Body):
    """How to think."""

    effort: str | None = Field(default=None, description="none, minimal, low, medium, high, xhigh or max.")
    summary: str | None = Field(
        default=None, description="Send the thoughts, as they are, as a `summary` instead of as `content`."
    )
    generate_summary: str | None = Field(default=None, description="The old name of `summary`.")


class ResponseBody(ThinkingBody):
    """/v1/responses."""

    input: str | list[dict[str, Any]] = Field(
        default="", description="The user's text, or items: messages, calls, their outputs, reasoning."
    )
    instructions: str | None = Field(default=None, description="The system prompt, of this request alone.")
    previous_response_id: str | None = Field(
        default=None, description="Go on after a stored response: its input and output come first."
    )
    store: bool = Field(default=True, description="Keep it for GET /v1/responses/{id}, until the server ends.")
    stream_options: StreamOptions = Field(default=StreamOptions(), description="Not supported.")
    max_output_tokens: Integer | None = Field(default=None, description="Tokens of the answer at most, all told.")
    tools: list[FlatToolBody] = Field(default_factory=list, description="The functions that the model may call.")
    tool_choice: str | dict[str, Any] = Field(
        default="auto", description="auto, none, required, one function, or some of the tools (`allowed_tools`)."
    )
    parallel_tool_calls: bool = Field(default=True, description="Whether an answer may hold several calls.")
    max_tool_calls: Integer | None = Field(default=None, description="Without effect: no tool runs in the server.")
    text: TextBody = Field(default=TextBody(), description="Hold the answer to JSON or to a JSON schema.")
    reasoning: ReasoningBody = Field(default=ReasoningBody(), description="How much to think, and how to show it.")
    reasoning_effort: str | None = Field(default=None, description="How much to think, as /v1/chat/completions has it.")
    include: list[str] = Field(default_factory=list, description=f"`{LOGPROBS}` and `{RESULTS}` are honoured.")
    top_logprobs: Integer = Field(default=0, description="Log-probabilities of so many of the likeliest tokens.")
    truncation: str | None = Field(
        default=None, description="auto: the oldest rounds go where all do not fit; disabled: that is an error."
    )
    background: bool = Field(default=False, description="Not supported.")
    metadata: dict[str, str] | None = Field(default=None, description="Kept with the response.")
    user: str | None = Field(default=None, description="Comes back with the response.")

    @property
    def input_items(self) -> list[dict[str, Any]]:
        """The input as items."""
        if isinstance(self.input, list):
            return self.input
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": self.input}]}]

    @property
    def summarized(self) -> bool:
        """Whether thoughts are sent as a summary."""
        return bool(self.reasoning.summary or self.reasoning.generate_summary)

    def request(self, items: Sequence[Mapping[str, Any]]) -> tuple[ChatRequest, tuple[str, ...]]:
        """To answer `items`: the input, and what came before it. With warnings. Raises InvalidRequest."""
        self._refuse()
        known = items_of(items)
        if not known:
            raise InvalidRequest("input is required: a text, or items")
        tools = flat_tools(self.tools, self.tool_choice)
        options, option_warnings = self.runtime_options(
            max_tokens=self.max_output_tokens,
            grammar=self.constraint(self.text.format),
            logprobs=logprobs_asked(self._wants_logprobs, self.top_logprobs),
        )
        unknown = dict.fromkeys(f"input.{name}" for item in known for name in item.unknown())
        searches = "input: items of type 'web_search_call' were left out: nothing is searched for here"
        warnings = (
            *self._warnings(),
            *([searches] if any(isinstance(item, SearchItem) for item in known) else []),
            *(f"field {name!r} is unknown: it was ignored" for name in unknown),
            *tools.warnings,
            *self.template_warnings(),
            *option_warnings,
        )
        refuse_if_strict(self.puna, warnings)
        return ChatRequest(
            model=self.model,
            messages=messages_of(self.instructions, known),
            options=options,
            tools=tools.tools,
            tool_choice=tools.choice,
            parallel_tool_calls=self.parallel_tool_calls,
            think=self.thinking_asked(self.reasoning_effort or self.reasoning.effort),
            keep_alive=self.keep_alive_seconds,
            history=self._history(),
        ), warnings

    @property
    def _wants_logprobs(self) -> bool:
        return LOGPROBS in self.include or self.top_logprobs > 0

    def _history(self) -> HistoryPolicy:
        match self.truncation:
            case None:
                return history_policy(self.puna)
            case "auto":
                return "drop_oldest"
            case "disabled":
                return "error"
        raise InvalidRequest(f"truncation must be 'auto' or 'disabled', not {self.truncation!r}")

    def _refuse(self) -> None:
        """What cannot be ignored without changing the meaning, or is out of range."""
        self.checked_model()
        if self.background:
            raise InvalidRequest("background is not supported: wait for the response, or stream it")
        extra = self.model_extra or {}
        for name in ("conversation", "prompt"):
            if name in extra:
                raise InvalidRequest(f"{name} is not supported: send the input itself, or previous_response_id")
        if self.max_output_tokens is not None and self.max_output_tokens < 1:
            raise InvalidRequest(f"max_output_tokens must be at least 1, not {self.max_output_tokens}")

    def _warnings(self) -> list[str]:
        ignored: Mapping[str, object] = {
            "stream_options is not supported here": "stream_options" in self.model_fields_set,
            "text.verbosity is not supported": self.text.verbosity,
        }
        included = [f"include: {name!r} is not supported" for name in self.include if name not in (LOGPROBS, RESULTS)]
        return [warning for warning, asked in ignored.items() if asked] + included + unknown_warnings(self)
