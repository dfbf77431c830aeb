"""A model's Go template where its Jinja template would stand: Puna's messages in, the prompt out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property

from puna.chat.messages import Message, Think, to_dict
from puna.chat.prompt_template import HELLO, MARK, PromptTemplate, Tools

# What of Go's values does what these variables of Jinja templates do.
_LIKE = {"enable_thinking": ("Think", "IsThinkSet"), "reasoning_effort": ("ThinkLevel",)}


class GoChatTemplate(PromptTemplate):
    """One model's Go template, parsed. Thread-safe.

    `enable_thinking` and `reasoning_effort` are the variables it knows. Whether an answer is opened is for the
    template to say: after a user's or a tool's message it is, whatever `add_generation_prompt` says.
    """

    is_default = False

    def __init__(self, source: str, *, now: Callable[[], datetime] = datetime.now) -> None:
        """Raises `TemplateError`, with the line, for a text that is not a template."""
        from puna.chat.gotemplate import GoTemplate  # an interpreter that few commands need

        self.sources = {"default": source}
        self._template = GoTemplate(source, now=now)

    @property
    def infills(self) -> bool:
        """Whether it writes prompts for what stands between two texts."""
        return self._template.mentions("Suffix")

    def render_infill(self, before: str, after: str) -> str:
        """The prompt for what stands between two texts. Raises `TemplateError`."""
        return self._template.render_infill(before, after)

    @cached_property
    def answer_end(self) -> str:
        """What it writes after an answer, before the next turn: an answer that ends the messages stays open."""
        two_turns = self.probe([HELLO, Message("assistant", MARK), HELLO]).rpartition(MARK)[2]
        end_and_next = two_turns.rpartition(HELLO.content)[0]
        next_turn = self.probe([HELLO]).rpartition(HELLO.content)[0]
        while end_and_next and next_turn and end_and_next[-1] == next_turn[-1]:
            end_and_next, next_turn = end_and_next[:-1], next_turn[:-1]
        return end_and_next

    def reads(self, variable: str) -> bool:
        """Whether the template reads what the variable stands for."""
        return any(map(self._template.mentions, _LIKE.get(variable, ())))

    def _render(
        self,
        messages: Sequence[Message],
        tools: Tools | None,
        add_generation_prompt: bool,
        variables: Mapping[str, object],
    ) -> str:
        del add_generation_prompt
        return self._template.render([*map(to_dict, messages)], tools=tools, think=self._think(variables))

    def _think(self, variables: Mapping[str, object]) -> Think | None:
        """As Ollama has it, a model whose template knows of thoughts thinks when nobody says."""
        if variables.get("enable_thinking") is False:
            return False
        match variables.get("reasoning_effort"):
            case "low" | "medium" | "high" | "max" as level:
                return level
        return True if variables.get("enable_thinking") or self._template.mentions("Thinking") else None
