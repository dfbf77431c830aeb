"""What a model's chat template is, whatever its language: messages to prompt, and what it can do.

Knows nothing of tokens, nor of any model by name: what a template can do is found by rendering it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from puna.chat.messages import Message
from puna.errors import InvalidRequest, TemplateError

Tools = Sequence[Mapping[str, object]]

MARK = "MARKxyz"
"""Stands for a text in probes."""

HELLO = Message("user", "hello")


def probe_tool(description: str) -> Mapping[str, object]:
    """A made-up tool, which takes a place."""
    parameters = {
        "type": "object",
        "properties": {"place": {"type": "string", "description": "where"}},
        "required": ["place"],
    }
    function = {"name": "look_up", "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


class PromptTemplate(ABC):
    """One model's template, compiled. Thread-safe.

    sources: the template's text, or texts by name. is_default: the file has none, another's is used.
    """

    sources: Mapping[str, str]
    is_default: bool

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
            return self._render(messages, tools or None, add_generation_prompt, variables)
        if not messages:
            raise InvalidRequest("there is no message to continue")
        marked = replace(messages[-1], content=messages[-1].content + MARK)
        text = self._render([*messages[:-1], marked], tools or None, False, variables)
        before, mark, _ = text.rpartition(MARK)
        if not mark:
            raise TemplateError("the chat template does not write the last message, so it cannot be continued")
        return before

    @cached_property
    def supports_system(self) -> bool:
        """Whether a system message's text reaches the prompt."""
        return MARK in self.probe([Message("system", MARK), HELLO])

    @cached_property
    def supports_tools(self) -> bool:
        """Whether the tools offered reach the prompt."""
        return MARK in self.probe([HELLO], tools=[probe_tool(MARK)])

    @cached_property
    def answer_end(self) -> str:
        """What it writes after an answer, before the next turn; "" where it refuses to."""
        return self.probe([HELLO, Message("assistant", MARK)]).rpartition(MARK)[2]

    def reads(self, variable: str) -> bool:
        """Whether the template may read the variable."""
        return any(variable in source for source in self.sources.values())

    def probe(
        self,
        messages: Sequence[Message],
        *,
        tools: Tools | None = None,
        add_generation_prompt: bool = False,
        variables: Mapping[str, object] | None = None,
    ) -> str:
        """What the template makes of made-up messages, to learn what it can do; "" where it refuses them."""
        try:
            return self._render(messages, tools, add_generation_prompt, variables or {})
        except TemplateError:
            return ""

    @abstractmethod
    def _render(
        self,
        messages: Sequence[Message],
        tools: Tools | None,
        add_generation_prompt: bool,
        variables: Mapping[str, object],
    ) -> str: ...
