"""Puna: large language models on your own machine, in Python down to the SIMD kernels.

>>> import puna
>>> with puna.LLM("cria") as llm:
...     print(llm.chat([{"role": "user", "content": "hello"}]).text)

What is heavy is imported when a name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from puna.llm import LLM, Completion, TextStream, Tokenizer
    from puna.pipelines import pipeline

    __version__: str

_HOMES = {
    "LLM": "puna.llm",
    "Completion": "puna.llm",
    "TextStream": "puna.llm",
    "Tokenizer": "puna.llm",
    "pipeline": "puna.pipelines",
}

__all__ = ["LLM", "Completion", "TextStream", "Tokenizer", "__version__", "pipeline"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("puna")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'puna' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
