"""Ollama's request bodies to the runtime's requests, with a warning for each field that is not honoured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator
from pydantic_core import PydanticCustomError

from puna.chat import Think
from puna.errors import InvalidRequest
from puna.runtime import ChatRequest, CompletionRequest, EmbedRequest, HistoryPolicy, Options
from puna.runtime.parameters import KNOWN, parse_format, parse_parameters
from puna.runtime.settings import keep_alive_seconds
from puna.server.body import Body, Integer, PunaBody
from puna.server.file_search import FILE_SEARCH
from puna.server.ollama_messages import MessageBody, ToolBody, image_files, messages_of, tool_choice
from puna.server.replies import history_policy, logprobs_asked, refuse_if_strict

THINK_LEVELS = ("high", "medium", "low", "max")


class ModelBody(Body):
    """A request about one model; `name` is its old spelling."""

    model: str = Field(default="", description="The model's name.")

    @model_validator(mode="before")
    @classmethod
    def _accept_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("model") and "name" in data:
            data = {**data, "model": data["name"]}
        return {key: value for key, value in data.items() if key != "name"} if isinstance(data, dict) else data

    def required_model(self) -> str:
        """The model's name. Raises InvalidRequest when there is none."""
        if not self.model.strip():
            raise InvalidRequest("model is required")
        return self.model


class ShowBody(ModelBody):
    """/api/show."""

    verbose: bool = Field(default=False, description="Long lists of the metadata too.")
    system: str = Field(default="", description="Shown in place of the model's own system prompt.")
    template: str = Field(default="", description="No effect, as in Ollama; reported.")
    options: dict[str, Any] = Field(default_factory=dict, description="Shown in the Modelfile over its own parameters.")
    puna: PunaBody = Field(default=PunaBody(), description="Whether to be strict.")

    def warnings(self) -> list[str]:
        """What has no effect. Raises InvalidRequest where it must have one."""
        ignored = ["template has no effect: the reply has the model's own"] if self.template else []
        ignored += unknown_warnings(self)
        refuse_if_strict(self.puna, ignored)
        return ignored


class GenerationBody(ModelBody):
    """What /api/generate and /api/chat share."""

    stream: bool = Field(default=True, description="Answer piece by piece, as lines of JSON, as the text comes.")
    format: str | dict[str, Any] = Field(
        default="", description='What the answer is held to: "json", or a JSON schema.'
    )
    keep_alive: Any = Field(
        default=None,
        description='How long the model stays loaded: seconds, or "5m"; negative: for good; 0: not at all.',
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="How to generate: num_ctx, num_predict, temperature, top_p, seed, stop ..."
    )
    think: bool | str | None = Field(
        default=None,
        description='Whether to think first: true, false, "low", "medium", "high", "max"; else as it likes.',
    )
    truncate: bool = Field(default=True, description="false: refuse a history that outgrows the context.")
    shift: bool = Field(default=False, description="Not supported: an answer ends where the context is full.")
    logprobs: bool = Field(default=False, description="Give the log-probability of each token.")
    top_logprobs: Integer = Field(
        default=0, description="With logprobs: so many of the likeliest tokens too, up to 20."
    )
    debug_render_only: bool = Field(
        default=False, alias="_debug_render_only", description="Give the prompt as the model would see it, and no more."
    )
    puna: PunaBody = Field(default=PunaBody(), description="What to do about too long a history, and strictness.")

    @property
    def keep_alive_seconds(self) -> float | None:
        """Seconds; None: the default."""
        return keep_alive_seconds(self.keep_alive)

    def runtime_options(self) -> tuple[Options, tuple[str, ...]]:
        """The options, and warnings about those that are not honoured."""
        options, warnings = parse_parameters(self.options)
        logprobs = logprobs_asked(self.logprobs, self.top_logprobs)
        return replace(options, logprobs=logprobs, grammar=parse_format(self.format)), warnings

    def history(self) -> HistoryPolicy:
        """`truncate: false` forbids to drop anything."""
        return history_policy(self.puna) if self.truncate else "error"

    def check(self) -> tuple[str, ...]:
        """Warnings about what has no effect."""
        ignored = {
            "top_logprobs without logprobs: the reply has none": self.top_logprobs and not self.logprobs,
            "shift is not supported: an answer ends where the context is full": self.shift,
        }
        return (*(warning for warning, asked in ignored.items() if asked), *unknown_warnings(self))

    def thinking(self) -> Think | None:
        """Whether or how much to think; None: as the model does by itself. Raises InvalidRequest."""
        match self.think:
            case None | "":
                return None
            case bool() | "low" | "medium" | "high" | "max":
                return self.think
        levels = ", ".join(f'"{level}"' for level in THINK_LEVELS)
        raise InvalidRequest(f'invalid think value: "{self.think}" (must be {levels}, true, or false)')


class GenerateBody(GenerationBody):
    """/api/generate."""

    prompt: str = Field(default="", description="The text; an empty one loads the model, or unloads it.")
    suffix: str = Field(default="", description="The text after the answer, where the model can fill in between.")
    system: str = Field(default="", description="The system prompt, in place of the model's own.")
    template: str = Field(default="", description="A Go template, in place of the model's own.")
    context: list[Integer] = Field(default_factory=list, description="Of an earlier reply, to go on after it.")
    raw: bool = Field(default=False, description="Feed the prompt as it stands, without a chat template.")
    images: list[str] = Field(
        default_factory=list, description="Pictures before the text, each a file in base64, for a model that sees."
    )

    def request(self) -> tuple[CompletionRequest, tuple[str, ...]]:
        """As the runtime takes it, with warnings. Raises InvalidRequest."""
        if self.raw and (self.template or self.system or self.context):
            raise InvalidRequest("raw mode does not support template, system, or context")
        options, option_warnings = self.runtime_options()
        warnings = (*self.check(), *option_warnings)
        refuse_if_strict(self.puna, warnings)
        return CompletionRequest(
            model=self.model,
            prompt=self.prompt,
            suffix=self.suffix or None,
            think=self.thinking(),
            system=self.system or None,
            template=self.template or None,
            raw=self.raw,
            context=tuple(self.context),
            images=image_files(self.images),
            options=options,
            keep_alive=self.keep_alive_seconds,
        ), warnings


class ChatBody(GenerationBody):
    """/api/chat."""

    messages: list[MessageBody] = Field(
        default_factory=list, description="The conversation; none: load the model, or unload it."
    )
    tools: list[ToolBody] = Field(default_factory=list, description="The tools that the model may call.")
    tool_choice: str | dict[str, Any] = Field(
        default="auto", description="Puna's addition, as in OpenAI's API: auto, none, required, or one function."
    )

    def request(self) -> tuple[ChatRequest, tuple[str, ...]]:
        """As the runtime takes it, with warnings. Raises InvalidRequest."""
        options, option_warnings = self.runtime_options()
        warnings = (*self.check(), *option_warnings)
        refuse_if_strict(self.puna, warnings)
        return ChatRequest(
            model=self.model,
            messages=messages_of(self.messages),
            options=options,
            tools=tuple(tool.tool() for tool in self.tools if tool.type != FILE_SEARCH),
            tool_choice=tool_choice(self.tool_choice),
            think=self.thinking(),
            keep_alive=self.keep_alive_seconds,
            history=self.history(),
        ), warnings


def _one_message(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    """Not one message for each of the possible types."""
    try:
        return validate(value)
    except ValidationError:
        raise PydanticCustomError("texts", "invalid input type: it must be a text or a list of texts") from None


class EmbedBody(ModelBody):
    """/api/embed."""

    input: Annotated[str | list[str], WrapValidator(_one_message)] = Field(
        default="", description="A text or a list of texts; none: load the model."
    )
    truncate: bool = Field(default=True, description="Cut a text longer than the context, and report it; or refuse it.")
    dimensions: Integer = Field(default=0, description="Keep so many of each vector's numbers; 0: all.")
    keep_alive: Any = Field(default=None, description='How long the model stays loaded: seconds, or "5m".')
    options: dict[str, Any] = Field(
        default_factory=dict, description="Of these num_ctx and priority say something here."
    )
    puna: PunaBody = Field(default=PunaBody(), description="Whether to be strict.")

    @property
    def texts(self) -> tuple[str, ...]:
        """The inputs; an empty text alone is none, as in Ollama."""
        return ((self.input,) if self.input else ()) if isinstance(self.input, str) else tuple(self.input)

    def request(self) -> tuple[EmbedRequest, tuple[str, ...]]:
        """As the runtime takes it, with warnings. Raises InvalidRequest."""
        if self.dimensions < 0:
            raise InvalidRequest(f"dimensions must not be negative, but is {self.dimensions}")
        options, warnings = _embed_options(self.options)
        warnings = (*unknown_warnings(self), *warnings)
        refuse_if_strict(self.puna, warnings)
        return EmbedRequest(
            model=self.required_model(),
            inputs=self.texts,
            truncate=self.truncate,
            dimensions=self.dimensions or None,
            context_length=options.context_length,
            keep_alive=keep_alive_seconds(self.keep_alive),
            priority=options.priority,
        ), warnings


class EmbeddingsBody(ModelBody):
    """/api/embeddings, the old route for one text."""

    prompt: str = Field(default="", description="The text; an empty one loads the model.")
    keep_alive: Any = Field(default=None, description='How long the model stays loaded: seconds, or "5m".')
    options: dict[str, Any] = Field(
        default_factory=dict, description="Of these num_ctx and priority say something here."
    )
    puna: PunaBody = Field(default=PunaBody(), description="Whether to be strict.")

    def request(self) -> tuple[EmbedRequest, tuple[str, ...]]:
        """As the runtime takes it, with warnings. Raises InvalidRequest."""
        options, warnings = _embed_options(self.options)
        warnings = (*unknown_warnings(self), *warnings)
        refuse_if_strict(self.puna, warnings)
        return EmbedRequest(
            model=self.required_model(),
            inputs=(self.prompt,) if self.prompt else (),
            context_length=options.context_length,
            keep_alive=keep_alive_seconds(self.keep_alive),
            priority=options.priority,
        ), warnings


def _embed_options(options: Mapping[str, object]) -> tuple[Options, tuple[str, ...]]:
    """The options, and warnings about those that are for sampling: a vector is not sampled."""
    parsed, warnings = parse_parameters(options)
    sampling = KNOWN - {"num_ctx", "priority"}
    idle = (name for name, value in options.items() if value is not None and name in sampling)
    return parsed, (*warnings, *(f"option {name!r} has no effect on embeddings: it was ignored" for name in idle))


def unknown_warnings(body: Body) -> tuple[str, ...]:
    """A warning for each field that nothing here knows."""
    return tuple(f"field {name!r} is unknown: it was ignored" for name in body.unknown())
