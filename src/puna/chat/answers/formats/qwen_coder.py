"""Qwen3-Coder, Qwen 3.5, Nemotron 3, Step 3.5, Seed-OSS; MiniMax M2; MiniCPM 5: a tag for each argument.

Source: their chat templates and model cards:
`<tool_call>\\n<function=name>\\n<parameter=key>\\nvalue\\n</parameter>\\n</function>\\n</tool_call>`
"""

from puna.chat.answers.tagged_calls import TaggedCalls

QWEN_CODER = TaggedCalls(
    open="<tool_call>",
    call="<function=",
    called=">",
    key="<parameter=",
    value=">",
    end="</parameter>",
    finish="</function>",
    close="</tool_call>",
    line="\n",
    around_value="\n",
    bare_call=True,
)
SEED = TaggedCalls(
    open="<seed:tool_call>",
    call="<function=",
    called=">",
    key="<parameter=",
    value=">",
    end="</parameter>",
    finish="</function>",
    close="</seed:tool_call>",
    line="\n",
)
MINIMAX = TaggedCalls(
    open="<minimax:tool_call>",
    call='<invoke name="',
    called='">',
    key='<parameter name="',
    value='">',
    end="</parameter>",
    finish="</invoke>",
    close="</minimax:tool_call>",
    line="\n",
)
MINICPM = TaggedCalls(
    open='<function name="',
    call="",
    called='">',
    key='<param name="',
    value='">',
    end="</param>",
    finish="",
    close="</function>",
)
SYNTAXES = (SEED, QWEN_CODER, MINIMAX, MINICPM)
