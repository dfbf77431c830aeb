"""A model's chat template: messages to prompt, as transformers' `apply_chat_template` renders it.

The template is Jinja, comes with a downloaded file and is hostile until proved otherwise: `puna.chat.sandbox` runs
it. Knows nothing of tokens, nor of any model by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from puna.chat.messages import Message, MessageShape, ToolCall, to_dicts
from puna.chat.prompt_template import HELLO, MARK, PromptTemplate, Tools, probe_tool
from puna.errors import TemplateError

if TYPE_CHECKING:
    from puna.chat.sandbox import Sandbox

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""What is used for a file without a template (OpenAI's ChatML, the most common form)."""

_CALL = ToolCall("call00001", "look_up", {"place": MARK})  # Mistral's ids have nine characters
_CALLED = (
    HELLO,
    Message("assistant", "", tool_calls=(_CALL,)),
    Message("tool", "found", tool_call_id=_CALL.id, tool_name=_CALL.name),
)


class ChatTemplate(PromptTemplate):
    """One model's Jinja template, compiled. Thread-safe; renders of one template wait for each other."""

    def __init__(
        self,
        source: str | Mapping[str, str],
        *,
        bos_token: str = "",
        eos_token: str = "",
        special_tokens: Mapping[str, str] | None = None,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        """Raises `TemplateError`, with the line, for a template that cannot be compiled.

        `source` is the Jinja text, or named texts of which `tool_use` is taken when tools are given and `default`
        otherwise (transformers' rule). Empty means that the file has none: ChatML is used and `is_default` is true,
        so that the caller can warn. `special_tokens` are further variables (`pad_token`, `unk_token`, ...); `now`
        gives the date that templates ask for.
        """
        from puna.chat.sandbox import Sandbox  # Jinja is slow to import, and `puna --help` renders nothing

        sources = {"default": source} if isinstance(source, str) else dict(source)
        self.is_default = not any(text.strip() for text in sources.values())
        if self.is_default:
            sources = {"default": CHATML}
        self.sources: Mapping[str, str] = sources
        self._variables = {**(special_tokens or {}), "bos_token": bos_token, "eos_token": eos_token}
        self._sandboxes = {name: Sandbox(text, now=now) for name, text in sources.items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, object], *, bos_token: str = "", eos_token: str = "") -> ChatTemplate:
        """The template in a model file: `tokenizer.chat_template`, and the named `tokenizer.chat_template.<name>`."""
        prefix = "tokenizer.chat_template"
        sources = {
            "default" if key == prefix else key.removeprefix(prefix + "."): text
            for key, text in metadata.items()
            if (key == prefix or key.startswith(prefix + ".")) and isinstance(text, str)
        }
        return cls(sources, bos_token=bos_token, eos_token=eos_token)

    @cached_property
    def shape(self) -> MessageShape:
        """The first shape in which a conversation with tool calls comes through whole; the plain one if none does."""
        hello = [Message("user", MARK)]
        parts = MARK not in self._probe(hello, MessageShape()) and MARK in self._probe(
            hello, MessageShape(content_parts=True)
        )
        for json_arguments, null_content in ((False, False), (True, False), (False, True), (True, True)):
            shape = MessageShape(json_arguments, null_content, parts)
            if MARK in self._probe(_CALLED, shape, tools=[probe_tool("looks it up")]):
                return replace(shape, named_ids=self._names_by_id(shape))
        return MessageShape(content_parts=parts)

    def _names_by_id(self, shape: MessageShape) -> bool:
        """Whether a call's id is written, and the name of what it calls is not."""
        written = self._probe(_CALLED[:2], shape)
        return _CALL.name not in written and str(_CALL.id) in written

    def _probe(self, messages: Sequence[Message], shape: MessageShape, tools: Tools | None = None) -> str:
        try:
            return self._render_shaped(messages, shape, tools, False, {})
        except TemplateError:
            return ""

    def _render(
        self,
        messages: Sequence[Message],
        tools: Tools | None,
        add_generation_prompt: bool,
        variables: Mapping[str, object],
    ) -> str:
        return self._render_shaped(messages, self.shape, tools, add_generation_prompt, variables)

    def _render_shaped(
        self,
        messages: Sequence[Message],
        shape: MessageShape,
        tools: Tools | None,
        add_generation_prompt: bool,
        variables: Mapping[str, object],
    ) -> str:
        values = {
            "documents": None,
            **self._variables,
            **variables,
            "messages": to_dicts(messages, shape),
            "tools": tools,
            "add_generation_prompt": add_generation_prompt,
        }
        return self._sandbox(tools).render(values)

    def _sandbox(self, tools: Tools | None) -> Sandbox:
        if tools and "tool_use" in self._sandboxes:
            return self._sandboxes["tool_use"]
        if "default" in self._sandboxes:
            return self._sandboxes["default"]
        names = ", ".join(sorted(self._sandboxes))
        raise TemplateError(f"the model has chat templates named {names}, but none named default")
