"""The text side of a model: tokenizer, chat template, configuration and default parameters; no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from puna import tokenizer as tokenizers
from puna.chat import ChatTemplate, Message
from puna.errors import InvalidRequest, UnsupportedModel
from puna.gguf import ModelConfig, Value, open_model
from puna.runtime.parameters import parse_parameters
from puna.runtime.types import Options
from puna.store import LocalModel
from puna.tokenizer import Tokenizer

# For a model that was never taught a chat format: the texts, a blank line between them.
PLAIN_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% if not loop.last %}{{ '\\n\\n' }}{% endif %}{% endfor %}"

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
    template: ChatTemplate
    template_source: str  # Jinja
    defaults: Options  # the model's own parameters
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
            template, source = _template(file.metadata, tokenizer)
            defaults, warnings = _defaults(local, file.metadata)
            if source == PLAIN_TEMPLATE:
                warnings += ("the model has no chat template: the messages are joined by blank lines",)
            return cls(
                local=local,
                config=ModelConfig.from_model(file),
                tokenizer=tokenizer,
                template=template,
                template_source=source,
                defaults=defaults,
                warnings=local.warnings + tokenizer.warnings + warnings,
            )
        finally:
            file.close()

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """The prompt text the chat template writes for `messages`."""
        return self.template.render(messages, add_generation_prompt=add_generation_prompt)

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt text: special tokens in it count; BOS comes first if the model wants one.

        A BOS that the template has written already is not doubled.
        """
        ids = self.tokenizer.encode(text, add_special=False, parse_special=True)
        bos = self.tokenizer.bos_id
        if self.tokenizer.add_bos and bos is not None and ids[:1] != [bos]:
            return [bos, *ids]
        return ids


def _template(metadata: Mapping[str, Value], tokenizer: Tokenizer) -> tuple[ChatTemplate, str]:
    """The model's template and the source of its default one."""
    bos, eos = _token(tokenizer, tokenizer.bos_id), _token(tokenizer, tokenizer.eos_id)
    template = ChatTemplate.from_metadata(metadata, bos_token=bos, eos_token=eos)
    if template.is_default:
        return ChatTemplate(PLAIN_TEMPLATE, bos_token=bos, eos_token=eos), PLAIN_TEMPLATE
    source = metadata.get("tokenizer.chat_template")
    return template, source if isinstance(source, str) else "(named templates)"


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
