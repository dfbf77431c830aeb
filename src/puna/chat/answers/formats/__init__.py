"""How each model family writes tool calls, one module each.

`ALL` is in the order in which they are tried on a model's template: the more particular first, since several share
their outer tags.
"""

from puna.chat.answers.formats import (
    command_r,
    deepseek,
    functionary,
    gemma,
    glm,
    granite,
    hermes,
    kimi,
    lists,
    llama,
    mistral,
    python_calls,
    qwen_coder,
)
from puna.chat.answers.syntax import CallSyntax

ALL: tuple[CallSyntax, ...] = (
    *qwen_coder.SYNTAXES,
    *glm.SYNTAXES,
    *hermes.SYNTAXES,
    *mistral.SYNTAXES,
    *deepseek.SYNTAXES,
    *kimi.SYNTAXES,
    *gemma.SYNTAXES,
    *command_r.SYNTAXES,
    *granite.SYNTAXES,
    *lists.SYNTAXES,
    *python_calls.SYNTAXES,
    *functionary.SYNTAXES,
    *llama.SYNTAXES,
)
