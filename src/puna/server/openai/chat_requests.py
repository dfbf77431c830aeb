"""The body of /v1/chat/completions to the runtime's requests, with a warning for each field that is not honoured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from puna.errors import InvalidRequest
from puna.runtime import ChatRequest
from puna.server.body import Body, Integer
from puna.server.openai.messages import MessageBody, messages_of
from puna.server.openai.sampling import StreamOptions, ThinkingBody, unknown_warnings, with_seed
from puna.server.openai.tools import FunctionBody, ToolBody, Tools, chat_tools
from puna.server.replies import history_policy, logprobs_asked, refuse_if_strict

MAX_CHOICES = 128  # of one request, as in OpenAI's API


class ReasoningBody(Body):
    """How to think, as /v1/responses writes it."""

    effort: str | None = Field(default=None, description="none, minimal, low, medium, high, xhigh or max.")
    max_tokens: Integer | None = Field(default=None, description="OpenRouter's name of `thinking_budget`.")


class ChatBody(ThinkingBody):
    """/v1/chat/completions."""

    messages: list[MessageBody] = Field(default_factory=list, description="The conversation.")
    stream_options: StreamOptions = Field(
        default=StreamOptions(), description="What a stream carries besides the answer."
    )
    max_completion_tokens: Integer | None = Field(
        default=None, description="Tokens of the answer at most, thinking included."
    )
    max_tokens: Integer | None = Field(default=None, description="The same by its old name.")
    n: Integer = Field(default=1, description="How many answers.")
    logprobs: bool = Field(default=False, description="Report each token's log-probability.")
    top_logprobs: Integer = Field(default=0, description="And those of so many of the likeliest tokens in its place.")
    response_format: dict[str, Any] | None = Field(
        default=None,
        description="Hold the answer to JSON (`json_object`), to a JSON schema (`json_schema`) or to a `grammar`.",
    )
    tools: list[ToolBody] = Field(default_factory=list, description="The functions that the model may call.")
    tool_choice: str | dict[str, Any] = Field(
        default="auto", description="auto, none, required, one function, or some of the tools (`allowed_tools`)."
    )
    parallel_tool_calls: bool = Field(default=True, description="Whether an answer may hold several calls.")
    functions: list[FunctionBody] = Field(default_factory=list, description="The old style of `tools`.")
    function_call: str | dict[str, Any] = Field(default="auto", description="The old style of `tool_choice`.")
    modalities: list[str] = Field(default_factory=lambda: ["text"], description="Only text can be generated.")
    reasoning_effort: str | None = Field(default=None, description="How much to think: none, minimal, low, ... max.")
    reasoning: ReasoningBody = Field(default=ReasoningBody(), description="The same, as /v1/responses writes it.")
    store: bool = Field(
        default=False, description="Keep the answer for GET /v1/chat/completions/{id}, until the server ends."
    )
    metadata: dict[str, str] | None = Field(default=None, description="Kept with a stored answer.")
    debug_render_only: bool = Field(
        default=False, alias="_debug_render_only", description="Give the prompt as the model would see it, and no more."
    )

    @property
    def budget(self) -> int | None:
        """Tokens that a thought may have; None: no limit."""
        given = super().budget
        return self.reasoning.max_tokens if given is None else given

    @property
    def legacy(self) -> bool:
        """Whether calls are wanted in the old style: one `function_call`."""
        return bool(self.functions) and not self.tools

    def requests(self) -> tuple[list[ChatRequest], tuple[str, ...]]:
        """One request for each of the `n` choices, with warnings. Raises InvalidRequest."""
        self._refuse()
        tools = self._tools()
        options, option_warnings = self.runtime_options(
            max_tokens=self.max_completion_tokens or self.max_tokens,
            grammar=self.constraint(self.response_format),
            logprobs=logprobs_asked(self.logprobs, self.top_logprobs),
        )
        warnings = (*self._warnings(), *tools.warnings, *self.template_warnings(), *option_warnings)
        refuse_if_strict(self.puna, warnings)
        first = ChatRequest(
            model=self.checked_model(),
            messages=messages_of(self.messages),
            options=options,
            tools=tools.tools,
            tool_choice=tools.choice,
            parallel_tool_calls=self.parallel_tool_calls and not self.legacy,
            think=self.thinking_asked(self.reasoning_effort or self.reasoning.effort),
            keep_alive=self.keep_alive_seconds,
            history=history_policy(self.puna),
        )
        return [with_seed(first, index) for index in range(self.n)], warnings

    def _tools(self) -> Tools:
        if not self.legacy:
            return chat_tools(self.tools, self.tool_choice)
        return chat_tools([ToolBody(function=function) for function in self.functions], self.function_call)

    def _refuse(self) -> None:
        """What cannot be ignored without changing the meaning, or is out of range."""
        self.checked_model()
        if not self.messages:
            raise InvalidRequest("[] is too short - 'messages'")
        if not 1 <= self.n <= MAX_CHOICES:
            raise InvalidRequest(f"n must be between 1 and {MAX_CHOICES}, not {self.n}")
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("top_logprobs needs logprobs to be true")
        if self.functions and self.tools:
            raise InvalidRequest("functions is the old name of tools: send one of them")
        if self.modalities != ["text"]:
            raise InvalidRequest(f"modalities {self.modalities}: only text can be generated")
        for name in ("max_tokens", "max_completion_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidRequest(f"{name} must be at least 1, not {value}")

    def _warnings(self) -> list[str]:
        ignored: Mapping[str, object] = {
            "messages.name: the model is not told who speaks": any(
                message.name and message.role not in ("tool", "function") for message in self.messages
            ),
            "stream_options.include_obfuscation is not supported": self.stream_options.include_obfuscation,
        }
        return [warning for warning, asked in ignored.items() if asked] + unknown_warnings(self)
