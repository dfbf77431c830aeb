"""A model's chat template: messages to prompt, as transformers' `apply_chat_template` renders it.

The template comes with a downloaded file and is hostile until proved otherwise: `puna.chat.sandbox` runs it.
Knows nothing of tokens, nor of any model by name: what a template can do is found by rendering it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from puna.chat.messages import Message, MessageShape, ToolCall, to_dict
from puna.errors import InvalidRequest, TemplateError

if TYPE_CHECKING:
    from puna.chat.sandbox import Sandbox

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""What is used for a file without a template (OpenAI's ChatML, the most common form)."""

Tools = Sequence[Mapping[str, object]]

_MARK = "MARKxyz"
_HELLO = Message("user", "hello")
_CALL = ToolCall("call00001", "look_up", {"place": _MARK})  # Mistral's ids have nine characters
_CALLED = (
    _HELLO,
    Message("assistant", "", tool_calls=(_CALL,)),
    Message("tool", "found", tool_call_id=_CALL.id, tool_name=_CALL.name),
)


def _tool(description: str) -> Mapping[str, object]:
    parameters = {
        "type": "object",
        "properties": {"place": {"type": "string", "description": "where"}},
        "required": ["place"],
    }
    function = {"name": "look_up", "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


class ChatTemplate:
    """One model's template, compiled. Thread-safe; renders of one template wait for each other."""

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

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Tools | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **variables: object,
    ) -> str:
        """The prompt. `tools` are JSON schemas (an empty list is none); `variables` go to the template as they are.

        `continue_final_message` ends the prompt inside the last message, for the model to go on with it, in place
        of a new turn.

        Raises `TemplateError` when the template refuses the messages, fails, or asks for too much time or memory.
        """
        if not continue_final_message:
            return self._render(messages, self.shape, tools or None, add_generation_prompt, variables)
        if not messages:
            raise InvalidRequest("there is no message to continue")
        marked = replace(messages[-1], content=messages[-1].content + _MARK)
        text = self._render([*messages[:-1], marked], self.shape, tools or None, False, variables)
        before, mark, _ = text.rpartition(_MARK)
        if not mark:
            raise TemplateError("the chat template does not write the last message, so it cannot be continued")
        return before

    @cached_property
    def shape(self) -> MessageShape:
        """The first shape in which a conversation with tool calls comes through whole; the plain one if none does."""
        hello = [Message("user", _MARK)]
        parts = _MARK not in self._probe(hello, MessageShape()) and _MARK in self._probe(
            hello, MessageShape(content_parts=True)
        )
        for json_arguments, null_content in ((False, False), (True, False), (False, True), (True, True)):
            shape = MessageShape(json_arguments, null_content, parts)
            if _MARK in self._probe(_CALLED, shape, tools=[_tool("looks it up")]):
                return shape
        return MessageShape(content_parts=parts)

    @cached_property
    def supports_system(self) -> bool:
        """Whether a system message's text reaches the prompt."""
        return _MARK in self._probe([Message("system", _MARK), _HELLO], self.shape)

    @cached_property
    def supports_tools(self) -> bool:
        """Whether the tools offered reach the prompt."""
        return _MARK in self._probe([_HELLO], self.shape, tools=[_tool(_MARK)])

    @cached_property
    def supports_thinking(self) -> bool:
        """Whether the template knows of reasoning: shows it, strips it from old answers, or can switch it."""
        thought = [_HELLO, Message("assistant", "yes", thinking=_MARK)]
        if _MARK in self._probe(thought, self.shape):
            return True
        answered = [_HELLO, Message("assistant", f"<think>\n{_MARK}\n</think>\n\nyes"), _HELLO]
        stripped = self._probe(answered, self.shape)
        if stripped and _MARK not in stripped:
            return True
        return any(self._switches(variable) for variable in ("enable_thinking", "thinking"))

    def _switches(self, variable: str) -> bool:
        on, off = (self._probe([_HELLO], self.shape, variables={variable: value}) for value in (True, False))
        return on != off

    def _probe(
        self,
        messages: Sequence[Message],
        shape: MessageShape,
        tools: Tools | None = None,
        variables: Mapping[str, object] | None = None,
    ) -> str:
        """The text of made-up messages, or "" when the template refuses them."""
        try:
            return self._render(messages, shape, tools, variables is not None, variables or {})
        except TemplateError:
            return ""

    def _render(
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
            "messages": [to_dict(message, shape) for message in messages],
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
