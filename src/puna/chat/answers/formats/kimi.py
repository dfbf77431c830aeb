"""Kimi K2: each call is named by its id. Source: its chat template and "tool call guidance".

`<|tool_calls_section_begin|><|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{...}<|tool_call_end|>
<|tool_calls_section_end|>`, the calls of a conversation counted from 0.
"""

from puna.chat.answers.named_calls import NamedCalls

_BEGIN, _END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_CALL, _ARGUMENTS, _CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"

KIMI = NamedCalls(
    _CALL,
    _ARGUMENTS,
    _CALL_END,
    _BEGIN,
    _END,
    prefix="functions.",
    numbered=":",
    marks=frozenset({_BEGIN, _END, _CALL, _ARGUMENTS, _CALL_END}),
)
SYNTAXES = (KIMI,)
