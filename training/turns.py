"""What a conversation is made of: turns, tool calls, and their rendering in ChatML, as cria's chat template does it.

Knows nothing of how turns are made, nor of tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from training.grammar import Language

Check = Literal["holds", "calls", "json"]
_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Call:
    """A tool's name and its arguments."""

    name: str
    arguments: Mapping[str, Any]

    def json(self) -> str:
        """As the model writes it."""
        return dumps({"name": self.name, "arguments": self.arguments})


@dataclass(frozen=True, slots=True)
class Turn:
    """A question (or, in `results`, what tools gave back) and its answer (or, in `calls`, the tools to call).

    An answer is right if it "holds" one of `accepted`, has the same calls, or is the same JSON, as `check` says.
    `forced` are parts of the answer, in order, that a grammar writes at run time: they are not trained on.
    """

    task: str
    language: Language
    question: str
    answer: str
    accepted: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    forced: tuple[str, ...] = ()
    check: Check = "holds"

    def right(self, answer: str) -> bool:
        """Whether a model's answer will do."""
        if self.check == "holds":
            return any(key in answer for key in self.accepted) and "<tool_call>" not in answer
        try:
            if self.check == "json":
                return bool(json.loads(answer) == json.loads(self.answer))
            return [json.loads(call) for call in _CALL.findall(answer)] == [json.loads(c.json()) for c in self.calls]
        except ValueError:
            return False

    def said(self) -> str:
        """What cria writes: the answer's text, or its calls."""
        return "\n".join(f"<tool_call>\n{call.json()}\n</tool_call>" for call in self.calls) or self.answer

    def taught(self) -> Iterator[tuple[int, int]]:
        """The parts of `said()` that are trained on, as (start, end)."""
        text, start = self.said(), 0
        for part in self.forced:
            at = text.index(part, start)
            if at > start:
                yield start, at
            start = at + len(part)
        if start < len(text) or not text:
            yield start, len(text)

    def messages(self) -> list[dict[str, Any]]:
        """As chat messages."""
        calls = [{"type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in self.calls]
        asked = [{"role": "tool", "content": result} for result in self.results]
        answer: dict[str, Any] = {"role": "assistant", "content": self.answer}
        if calls:
            answer["tool_calls"] = calls
        return [*(asked or [{"role": "user", "content": self.question}]), answer]

    def asked(self) -> str:
        """The user's turn as it is rendered."""
        results = "\n".join(f"<tool_response>\n{result}\n</tool_response>" for result in self.results)
        return results or self.question


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order, after a system prompt or none, with the tools (their `function` objects) that are offered."""

    system: str | None
    turns: tuple[Turn, ...]
    tools: tuple[Mapping[str, Any], ...] = ()

    def messages(self) -> list[dict[str, Any]]:
        """As chat messages with role and content."""
        messages: list[dict[str, Any]] = [{"role": "system", "content": self.system}] if self.system else []
        return messages + [message for turn in self.turns for message in turn.messages()]

    def offered(self) -> list[dict[str, Any]]:
        """The tools as OpenAI's API has them."""
        return [{"type": "function", "function": tool} for tool in self.tools]

    def prompt(self) -> str:
        """The text up to the last answer, as cria's chat template renders it."""
        return "".join(self.pieces())[: -len(self.turns[-1].said() + "<|im_end|>\n")]

    def pieces(self) -> Iterator[str]:
        """The rendered text: what comes before an answer, the answer with the mark that ends it, and so on."""
        system = f"<|im_start|>system\n{self.preamble()}<|im_end|>\n" if self.preamble() else ""
        for turn in self.turns:
            yield f"{system}<|im_start|>user\n{turn.asked()}<|im_end|>\n<|im_start|>assistant\n"
            yield turn.said() + "<|im_end|>\n"
            system = ""

    def preamble(self) -> str:
        """The system turn's text: the prompt and the list of tools."""
        if not self.tools:
            return self.system or ""
        listed = "\n".join(dumps(tool) for tool in self.tools)
        return (f"{self.system}\n\n" if self.system else "") + f"<tools>\n{listed}\n</tools>"


def dumps(value: object) -> str:
    """JSON as chat templates write it."""
    return json.dumps(value, ensure_ascii=False)
