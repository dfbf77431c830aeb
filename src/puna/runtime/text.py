"""The text side of a model: tokenizer, chat template, configuration and default parameters; no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from puna import tokenizer as tokenizers
from puna.chat import ChatTemplate, GoChatTemplate, Message, PromptTemplate, Think, Tool
from puna.chat.answers import AnswerFormat, switches_of
from puna.errors import InvalidGGUF, InvalidRequest, TemplateError, UnsupportedModel
from puna.gguf import ModelConfig, Value, VisionConfig, open_model
from puna.runtime.infill import Infill
from puna.runtime.parameters import parse_parameters
from puna.runtime.types import Options
from puna.store import LocalModel
from puna.tokenizer import Tokenizer
from puna.tokenizer.special import FIM_TEXTS

# For a model that was never taught a chat format: the texts, a blank line between them.
PLAIN_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% if not loop.last %}{{ '\\n\\n' }}{% endif %}{% endfor %}"

_NOT_USED = (
    "the model's Go template is not used, for Ollama writes this model's prompts without it: they follow the chat "
    "template inside the model file"
)

# Sampling defaults a GGUF may carry (llama.cpp's key names).
_GGUF_SAMPLING = {
    "general.sampling.temp": "temperature",
    "general.sampling.top_k": "top_k",
    "general.sampling.top_p": "top_p",
    "general.sampling.min_p": "min_p",
    "general.sampling.penalty_repeat": "repeat_penalty",
    "general.sampling.penalty_last_n": "repeat_last_n",
}


@dataclass(frozen=True, slots=True)
class TextModel:
    """What of a model is needed to turn messages into tokens and back."""

    local: LocalModel
    config: ModelConfig
    tokenizer: Tokenizer
    template: PromptTemplate
    template_source: str  # Jinja, or Go where `has_go_template`
    answers: AnswerFormat
    marks: Mapping[str, int]  # of the marks in its answers those that are control tokens, and their ids
    infill: Infill | None  # None: it does not fill in between two texts
    defaults: Options  # the model's own parameters
    vision: VisionConfig | None  # None: it sees no images
    warnings: tuple[str, ...]

    @classmethod
    def open(cls, local: LocalModel) -> Self:
        """Read it from the file's metadata.

        Raises:
            InvalidGGUF, UnsupportedModel, InvalidTokenizer, TemplateError.
        """
        file = open_model(local.path)
        try:
            tokenizer = tokenizers.load(file)
            bos, eos = _token(tokenizer, tokenizer.bos_id), _token(tokenizer, tokenizer.eos_id)
            template, source = _template(local, file.metadata, bos, eos)
            defaults, warnings = _defaults(local, file.metadata)
            if source == PLAIN_TEMPLATE:
                warnings += ("the model has no chat template: the messages are joined by blank lines",)
            control_tokens = tokenizer.control_tokens
            answers = AnswerFormat.of(template)
            infill = Infill.of(file.metadata, tokenizer.vocab_size, control_tokens)
            if local.template is not None and not isinstance(template, GoChatTemplate):
                warnings += (_NOT_USED,)
            config = ModelConfig.from_model(file)
            vision, unused = vision_of(local, config)
            able = _abilities(template, answers, infill, vision)
            return cls(
                local=replace(local, details=replace(local.details, abilities=able)),
                config=config,
                tokenizer=tokenizer,
                template=template,
                template_source=source,
                answers=answers,
                marks={text: control_tokens[text] for text in answers.special_tokens & control_tokens.keys()},
                infill=infill,
                defaults=defaults,
                vision=vision,
                warnings=local.warnings + tokenizer.warnings + warnings + unused,
            )
        finally:
            file.close()

    @property
    def to_run(self) -> LocalModel:
        """As a runner is given it: with its first projector, where that can be used."""
        return replace(self.local, projectors=self.local.projectors[:1] if self.vision else ())

    @property
    def has_go_template(self) -> bool:
        """Whether prompts follow a template layer in Go's language, and not the file's own in Jinja."""
        return isinstance(self.template, GoChatTemplate)

    def with_template(self, source: str) -> Self:
        """The model with another Go template for its prompts. Raises TemplateError."""
        template = GoChatTemplate(source)
        answers = replace(self.answers, switches=switches_of(template))
        return replace(self, template=template, template_source=source, answers=answers)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        think: Think | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> str:
        """The prompt text the chat template writes for `messages`, ready for the answer.

        continue_final_message: it ends inside the last message, for the model to go on with it. Where the template
        cannot do that, what the message has so far stands at the beginning of the answer.
        """
        variables = self.answers.variables(think)
        schemas = [tool.to_dict() for tool in tools]
        if continue_final_message:
            try:
                return self.template.render(messages, tools=schemas, continue_final_message=True, **variables)
            except TemplateError:
                *before, begun = messages
                if not before:
                    raise
                return self.render(before, tools=tools, think=False) + begun.content
        text = self.template.render(messages, tools=schemas, add_generation_prompt=add_generation_prompt, **variables)
        return text + self.answers.prefill(think, text) if add_generation_prompt else text

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt text: special tokens in it count; BOS comes first if the model wants one.

        A BOS that the template has written already is not doubled.
        """
        ids = self.tokenizer.encode(text, add_special=False, parse_special=True)
        bos = self.tokenizer.bos_id
        if self.tokenizer.add_bos and bos is not None and ids[:1] != [bos]:
            return [bos, *ids]
        return ids


def abilities(local: LocalModel) -> tuple[str, ...]:
    """Those that `TextModel.open` finds, in a tenth of the time: no tokenizer is built.

    Raises InvalidGGUF, UnsupportedModel, TemplateError.
    """
    with open_model(local.path) as file:
        metadata = file.metadata
        tokens = metadata.get("tokenizer.ggml.tokens", ())
        texts = [str(token) for token in tokens] if isinstance(tokens, Sequence) else []
        ends = (metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos"))
        bos, eos = (texts[end] if isinstance(end, int) and 0 <= end < len(texts) else "" for end in ends)
        template, _ = _template(local, metadata, bos, eos)
        fim = {text: index for index, text in enumerate(texts) if text in FIM_TEXTS}
        vision, _ = vision_of(local, ModelConfig.from_model(file))
        return _abilities(template, AnswerFormat.of(template), Infill.of(metadata, len(texts), fim), vision)


def vision_of(local: LocalModel, config: ModelConfig) -> tuple[VisionConfig | None, tuple[str, ...]]:
    """What the model's projector says of the images it takes; None, and why, where it cannot be used."""
    if not local.projectors:
        return None, ()
    try:
        with open_model(local.projectors[0]) as file:
            vision = VisionConfig.from_model(file)
        vision.check_fits(config)
    except (InvalidGGUF, UnsupportedModel) as error:
        return None, (f"the model's image projector is not used, it answers to text only: {error}",)
    others = len(local.projectors) - 1
    return vision, (f"{others} more image projectors of the model are not used",) if others else ()


def _abilities(
    template: PromptTemplate, answers: AnswerFormat, infill: Infill | None, vision: VisionConfig | None
) -> tuple[str, ...]:
    """Ollama's words for what a model can be asked for besides completion."""
    inserts = infill is not None or (isinstance(template, GoChatTemplate) and template.infills)
    able = (
        ("vision", vision is not None),
        ("tools", answers.supports_tools),
        ("insert", inserts),
        ("thinking", answers.supports_thinking),
    )
    return tuple(name for name, can in able if can)


def _template(local: LocalModel, metadata: Mapping[str, Value], bos: str, eos: str) -> tuple[PromptTemplate, str]:
    """The template that prompts follow, and the source of its default one: the model's layer, else the file's own.

    Of a model for which Ollama has a renderer of its own the layer says nothing, where there is one at all.
    """
    own = ChatTemplate.from_metadata(metadata, bos_token=bos, eos_token=eos)
    rendered = local.config is not None and bool(local.config.renderer)
    if local.template is not None and (own.is_default or not rendered):
        return GoChatTemplate(local.template), local.template
    if own.is_default:
        return ChatTemplate(PLAIN_TEMPLATE, bos_token=bos, eos_token=eos), PLAIN_TEMPLATE
    source = metadata.get("tokenizer.chat_template")
    return own, source if isinstance(source, str) else "(named templates)"


def _token(tokenizer: Tokenizer, token: int | None) -> str:
    return "" if token is None else tokenizer.token_text(token)


def _defaults(local: LocalModel, metadata: Mapping[str, Value]) -> tuple[Options, tuple[str, ...]]:
    names = {name: metadata[key] for key, name in _GGUF_SAMPLING.items() if key in metadata}
    try:
        in_file, _ = parse_parameters(names)
        stored, warnings = parse_parameters(local.parameters or {})
        return stored.over(in_file), warnings
    except InvalidRequest as error:
        raise UnsupportedModel(f"the parameters of {local.name} are not valid: {error}") from error
