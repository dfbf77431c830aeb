"""GLM 4.5 and later: the name in the outer tag, then keys and values in tags. Source: their chat templates.

`<tool_call>name\\n<arg_key>key</arg_key>\\n<arg_value>value</arg_value>\\n</tool_call>`; 4.7 without new lines.
"""

from puna.chat.answers.tagged_calls import TaggedCalls

GLM = TaggedCalls(
    open="<tool_call>",
    call="",
    called="",
    key="<arg_key>",
    value="</arg_key> <arg_value>",
    end="</arg_value>",
    finish="",
    close="</tool_call>",
    line="\n",
)
SYNTAXES = (GLM,)
