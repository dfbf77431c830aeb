"""cria's chat template: messages of system, user, assistant and tools, and the list of tools, as cria was taught them.

It refuses what cria was not taught (other roles, content that is not text) with a reason, so that nothing is dropped in
silence. `turns.Conversation.pieces` renders the same text for training.
"""

# Tools, calls and results are written as Qwen's models write them (Hermes' format), the functions' own objects alone.
CHAT_TEMPLATE = """\
{%- if tools -%}
{{- '<|im_start|>system\\n' -}}
{%- if messages and messages[0].role == 'system' and messages[0].content -%}
{{- messages[0].content + '\\n\\n' -}}
{%- endif -%}
{{- '<tools>' -}}
{%- for tool in tools %}{{- '\\n' + (tool.function or tool) | tojson -}}{% endfor -%}
{{- '\\n</tools><|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- set content = message.content or '' -%}
{%- if content is not string %}{{ raise_exception('cria reads text only') }}{% endif -%}
{%- if message.role == 'tool' -%}
{%- if loop.first or loop.previtem.role != 'tool' %}{{- '<|im_start|>user' -}}{% endif -%}
{{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' -}}
{%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<|im_end|>\\n' -}}{% endif -%}
{%- elif message.role in ['system', 'user', 'assistant'] -%}
{%- if not (tools and loop.first and message.role == 'system') -%}
{{- '<|im_start|>' + message.role + '\\n' + content -}}
{%- for call in message.tool_calls or [] -%}
{%- if content or not loop.first %}{{- '\\n' -}}{% endif -%}
{{- '<tool_call>\\n' + {'name': call.function.name, 'arguments': call.function.arguments} | tojson -}}
{{- '\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- else -%}
{{ raise_exception('cria knows the roles system, user, assistant and tool, not ' + message.role) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' -}}{% endif -%}
"""
