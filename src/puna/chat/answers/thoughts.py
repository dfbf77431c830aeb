"""How families mark thoughts, and which variables of their templates switch thinking.

Source: the families' chat templates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from puna.chat.messages import Message, Think
from puna.chat.prompt_template import PromptTemplate

_HELLO = Message("user", "hello")
_THOUGHT = "THOUGHTxyz"


@dataclass(frozen=True, slots=True)
class Thoughts:
    """The marks around a thought.

    parts  the control tokens in the marks, where a mark is more than one
    blank  what an empty thought has inside and after it
    frame  tags that these models write around what they answer after a thought; () for none
    """

    open: str
    close: str
    parts: tuple[str, ...] = ()
    blank: str = "\n\n"
    frame: tuple[str, ...] = ()

    @property
    def tokens(self) -> frozenset[str]:
        """The marks that are control tokens in these models' vocabularies."""
        return frozenset(self.parts or (self.open, self.close))

    def opened_by(self, prompt: str) -> bool:
        """Whether the prompt ends where a thought begins."""
        return prompt.rstrip().endswith(self.open.rstrip())

    @property
    def end(self) -> str:
        """The end of a thought, whatever is in it."""
        return f"{self.blank[:1]}{self.close}{self.blank}"

    @property
    def none(self) -> str:
        """An empty thought."""
        return f"{self.open}{self.blank}{self.close}{self.blank}"


THINK = Thoughts("<think>", "</think>")
KNOWN = (
    THINK,
    Thoughts("<thinking>", "</thinking>"),
    Thoughts("[THINK]", "[/THINK]", blank=""),  # Magistral and later Mistrals
    Thoughts("<seed:think>", "</seed:think>"),
    Thoughts("<mm:think>", "</mm:think>"),  # MiniMax M3
    Thoughts("<|START_THINKING|>", "<|END_THINKING|>", blank=""),  # Cohere
    Thoughts("<|channel>thought", "<channel|>", ("<|channel>", "<channel|>"), ""),  # Gemma 4
    Thoughts("<|inner_prefix|>", "<|inner_suffix|>", blank=""),  # Apertus
    Thoughts("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]"),  # Apriel
    Thoughts("<reasoning>", "</reasoning>"),
    Thoughts("<thought>", "</thought>"),
)

_FRAME = ("<response>", "</response>")  # Granite 3


def thoughts_of(template: PromptTemplate) -> Thoughts | None:
    """The marks this template writes around an assistant's reasoning, else those it mentions; None for neither."""
    shown = template.probe([_HELLO, Message("assistant", "yes", thinking=_THOUGHT)])
    before, _, after = shown.partition(_THOUGHT)
    for thoughts in KNOWN:
        if before.rstrip().endswith(thoughts.open.rstrip()) and after.lstrip().startswith(thoughts.close):
            return thoughts
    source = "\n".join(template.sources.values())
    mentioned = next((known for known in KNOWN if known.close in source), None)
    return replace(mentioned, frame=_FRAME) if mentioned and all(tag in source for tag in _FRAME) else mentioned


@dataclass(frozen=True, slots=True)
class Switches:
    """Which variables of a template say whether, and how much, to think.

    off, on   variables and their values; empty where the template has no such variable
    efforts   `reasoning_effort` for each level; empty where the template does not read it
    """

    off: Mapping[str, object]
    on: Mapping[str, object]
    efforts: Mapping[str, str]

    def variables(self, think: Think | None) -> dict[str, object]:
        """What to give the template."""
        if think is None:
            return {}
        if think is False:
            return dict(self.off)
        effort = self.efforts.get(think) if isinstance(think, str) else None
        return {**self.on, **({"reasoning_effort": effort} if effort else {})}


# variable, its value for thinking, its value for none
_BOTH_WAYS: tuple[tuple[str, object, object], ...] = (
    ("enable_thinking", True, False),
    ("thinking", True, False),
    ("reasoning", True, False),
    ("thinking_mode", "enabled", "disabled"),
    ("thinking_budget", -1, 0),
)
# level, the names templates have for it or for the nearest they know
_EFFORTS = {"low": ("low",), "medium": ("medium", "high"), "high": ("high", "xhigh"), "max": ("max", "xhigh", "high")}
_NO_EFFORTS = ("none", "no_think", "low")
_COMMON = ("low", "medium", "high")  # names that count as known even where a template writes whatever it is given


def switches_of(template: PromptTemplate) -> Switches:
    """Found by rendering: a variable is a switch if its values make a difference."""
    source = "\n".join(template.sources.values()).replace("'", '"')
    on: dict[str, object] = {}
    off: dict[str, object] = {}
    for variable, yes, no in _BOTH_WAYS:
        if template.reads(variable) and _render(template, {variable: yes}) != _render(template, {variable: no}):
            on[variable], off[variable] = yes, no
    efforts = _efforts(template, source, on) if template.reads("reasoning_effort") else {}
    if efforts and not off:
        off["reasoning_effort"] = next(name for name in _NO_EFFORTS if name in _COMMON or f'"{name}"' in source)
    return Switches(off, on, efforts)


def _efforts(template: PromptTemplate, source: str, on: Mapping[str, object]) -> Mapping[str, str]:
    names = dict.fromkeys(name for names in _EFFORTS.values() for name in names)
    shown = {
        name: text
        for name in names
        if (name in _COMMON or f'"{name}"' in source) and (text := _render(template, {**on, "reasoning_effort": name}))
    }
    if len(set(shown.values())) < 2:
        return {}
    known = {level: next((name for name in names if name in shown), None) for level, names in _EFFORTS.items()}
    return {level: name for level, name in known.items() if name}


def _render(template: PromptTemplate, variables: Mapping[str, object]) -> str:
    return template.probe([_HELLO], add_generation_prompt=True, variables=variables)
