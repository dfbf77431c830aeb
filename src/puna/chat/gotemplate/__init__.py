"""Go templates: the text/template language of Ollama's `template` layers, run in bounded time and memory.

`lexer`, `parser` and `evaluator` are the language, `values`, `printing`, `encoding` and `functions` what of Go's
library templates see, `types`, `data` and `template` what Ollama makes of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from puna.chat.gotemplate.template import GoTemplate
from puna.chat.messages import Think

__all__ = ["GoTemplate", "render_chat"]


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, object]],
    tools: Sequence[Mapping[str, object]] | None = None,
    think: Think | None = None,
) -> str:
    """The prompt that Ollama would make of messages and tools in its API's form.

    Raises `TemplateError`: not a template, one that fails on these messages, or one that asks for too much.
    """
    return GoTemplate(template).render(messages, tools=tools, think=think)
