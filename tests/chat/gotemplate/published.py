"""Published prompt formats as Go templates of our own writing.

Source: the model cards and tokenizers' chat templates of each family. Those with `.Prompt` are executed round by round,
those with `.Messages` once.
"""

from __future__ import annotations

CHATML = """\
{{ if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ .Response }}<|im_end|>
"""

LLAMA2 = """\
[INST] {{ if .System }}<<SYS>>
{{ .System }}
<</SYS>>

{{ end }}{{ .Prompt }} [/INST] {{ .Response }} </s><s>"""

LLAMA3 = """\
{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>

{{ .Content }}<|eot_id|>
{{- end }}<|start_header_id|>assistant<|end_header_id|>

"""

LLAMA31 = """\
{{- if or .System .Tools }}<|start_header_id|>system<|end_header_id|>
{{- if .Tools }}

Environment: ipython
{{- end }}
{{- if .System }}

{{ .System }}
{{- end }}<|eot_id|>
{{- end }}
{{- range $i, $message := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>

{{ if and $.Tools $last -}}
Given the following functions, answer with a call of one of them as
{"name": function name, "parameters": dictionary of argument name and its value}.

{{ range $.Tools }}{{ . }}
{{ end }}
{{ end }}{{ .Content }}<|eot_id|>
{{- else if eq .Role "assistant" }}<|start_header_id|>assistant<|end_header_id|>

{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}
{{- else }}{{ .Content }}
{{- end }}{{ if not $last }}<|eot_id|>{{ end }}
{{- else if eq .Role "tool" }}<|start_header_id|>ipython<|end_header_id|>

{{ .Content }}<|eot_id|>
{{- end }}
{{- if and $last (ne .Role "assistant") }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- end }}"""

GEMMA = """\
{{- range $i, $_ := .Messages }}
{{- if eq .Role "user" }}<start_of_turn>user
{{ if and $.System (le $i 1) }}{{ $.System }}

{{ end }}{{ .Content }}<end_of_turn>
{{ else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}<end_of_turn>
{{ end }}
{{- end }}<start_of_turn>model
"""

MISTRAL = "[INST] {{ if .System }}{{ .System }}\n\n{{ end }}{{ .Prompt }} [/INST]{{ .Response }}</s>"

MISTRAL_TOOLS = """\
{{- range $index, $_ := .Messages }}
{{- if eq .Role "user" }}
{{- if and (le (len (slice $.Messages $index)) 3) $.Tools }}[AVAILABLE_TOOLS] [
{{- range $at, $tool := $.Tools }}{{ if $at }}, {{ end }}{"type": "function", "function": {{ .Function }}}{{ end -}}
][/AVAILABLE_TOOLS]
{{- end }}[INST] {{ if and (eq (len (slice $.Messages $index)) 1) $.System }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }}
{{- if .ToolCalls }}[TOOL_CALLS] [
{{- range $at, $call := .ToolCalls }}{{ if $at }}, {{ end -}}
{"name": "{{ .Function.Name }}", "arguments": {{ json .Function.Arguments }}, "id": {{ printf "%q" .ID }}}
{{- end }}]</s>
{{- else if .Content }} {{ .Content }}
{{- if gt (len (slice $.Messages $index)) 1 }}</s>{{ end }}
{{- end }}
{{- else if eq .Role "tool" }}[TOOL_RESULTS] {"content": {{ json .Content }}}[/TOOL_RESULTS]
{{- end }}
{{- end }}"""

PHI3 = """\
{{- range .Messages }}<|{{ .Role }}|>
{{ .Content }}<|end|>
{{ end }}<|assistant|>
"""

COMMAND_R = """\
{{- if or .Tools .System }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>
{{- with .System }}# User Preamble
{{ . }}
{{- end }}
{{- if .Tools }}

## Available Tools
{{- range .Tools }}

```python
def {{ .Function.Name }}(
{{- range $name, $property := .Function.Parameters.Properties }}{{ $name }}: {{ $property.Type }}, {{ end -}}
) -> List[Dict]:
    \"\"\"{{ .Function.Description }}
{{- range $name, $property := .Function.Parameters.Properties }}
    {{ $name }} ({{ $property.Type }}): {{ $property.Description }}
{{- end }}
    \"\"\"
    pass
```
{{- end }}
{{- end }}<|END_OF_TURN_TOKEN|>
{{- end }}
{{- range .Messages }}
{{- if eq .Role "system" }}{{ continue }}{{ end }}<|START_OF_TURN_TOKEN|>
{{- if eq .Role "user" }}<|USER_TOKEN|>{{ .Content }}
{{- else if .ToolCalls }}<|CHATBOT_TOKEN|>Action: ```json
[
{{- range $at, $call := .ToolCalls }}{{ if $at }},{{ end }}
    {
        "tool_name": "{{ .Function.Name }}",
        "parameters": {{ .Function.Arguments }}
    }
{{- end }}
]```
{{- else if eq .Role "assistant" }}<|CHATBOT_TOKEN|>{{ .Content }}
{{- else }}<|SYSTEM_TOKEN|><results>
{{ .Content }}
</results>
{{- end }}<|END_OF_TURN_TOKEN|>
{{- end }}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"""

ALPACA = """\
{{ if .System }}{{ .System }}

{{ end }}{{ if .Prompt }}### Instruction:
{{ .Prompt }}

{{ end }}### Response:
{{ .Response }}

"""

VICUNA = "{{ with .System }}{{ . }} {{ end }}{{ with .Prompt }}USER: {{ . }} {{ end }}ASSISTANT: {{ .Response }}</s>"

ZEPHYR = """\
{{- range .Messages }}<|{{ .Role }}|>
{{ .Content }}</s>
{{ end }}<|assistant|>
"""

QWEN25 = """\
{{- if or .System .Tools }}<|im_start|>system
{{ .System }}
{{- if .Tools }}

# Tools

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags.
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""

QWEN3 = """\
{{- $lastUser := -1 }}
{{- range $at, $message := .Messages }}{{ if eq $message.Role "user" }}{{ $lastUser = $at }}{{ end }}{{ end }}
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}
{{- if and $.IsThinkSet (eq $i $lastUser) }} {{ if $.Think }}/think{{ else }}/no_think{{ end }}{{ end }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if and .Thinking (gt $i $lastUser) }}<think>
{{ .Thinking }}
</think>

{{ end }}{{ .Content }}{{ if not $last }}<|im_end|>
{{ end }}
{{- end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ if and $.IsThinkSet (not $.Think) }}<think>

</think>

{{ end }}
{{- end }}
{{- end }}"""

DEEPSEEK_CODER = """\
{{ with .System }}{{ . }}
{{ end }}### Instruction:
{{ .Prompt }}
### Response:
{{ .Response }}
<|EOT|>
"""

DEEPSEEK_R1 = """\
{{- if .System }}{{ .System }}{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>
{{- if and .Thinking $last }}<think>
{{ .Thinking }}
</think>
{{ end }}{{ .Content }}{{ if not $last }}<｜end▁of▁sentence｜>{{ end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>{{ if $.Think }}<think>
{{ end }}{{ end }}
{{- end }}"""

GRANITE = """\
{{- if .Tools }}<|start_of_role|>available_tools<|end_of_role|>
{{- range .Tools }}
{{ . }}
{{ end }}<|end_of_text|>
{{ end }}
{{- range $index, $_ := .Messages }}<|start_of_role|>
{{- if eq .Role "tool" }}tool_response{{ else }}{{ .Role }}{{ end }}<|end_of_role|>
{{- if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<|tool_call|>[
{{- range $at, $call := .ToolCalls }}{{ if $at }}, {{ end -}}
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}{{ end }}]
{{- end }}
{{- if gt (len (slice $.Messages $index)) 1 }}<|end_of_text|>
{{ else if ne .Role "assistant" }}<|end_of_text|>
<|start_of_role|>assistant<|end_of_role|>
{{- end }}
{{- end }}"""

NEMOTRON = """\
{{- if or .System .Tools }}<extra_id_0>System
{{ .System }}
{{ range .Tools }}<tool> {{ . }} </tool>
{{ end }}
{{ end }}
{{- range $i, $m := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<extra_id_1>User
{{ .Content }}
{{ else if eq .Role "assistant" }}<extra_id_1>Assistant
{{ .Content }}{{ range .ToolCalls }}<toolcall> \
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}} </toolcall>
{{- end }}
{{ else if eq .Role "tool" }}<extra_id_1>Tool
{{ .Content }}
{{ end }}
{{- if and $last (ne .Role "assistant") }}<extra_id_1>Assistant
{{ end }}
{{- end }}"""

FIREFUNCTION = """\
{{- if or .System .Tools }}<|start_header_id|>system<|end_header_id|>
{{- if .System }}
{{ .System }}
{{- end }}
In addition to plain text responses, you can choose to call one or more of the provided functions.
{{- if .Tools }}

Functions:
{{ json .Tools }}
{{- end }}<|eot_id|>
{{- end }}
{{- range .Messages }}
{{- if ne .Role "system" }}<|start_header_id|>{{ .Role }}<|end_header_id|>
{{- if .Content }}
{{ .Content }}
{{- else if .ToolCalls }} functools[
{{- range $at, $_ := .ToolCalls }}{{ if $at }}, {{ end -}}
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{- end }}]
{{- end }}<|eot_id|>
{{- end }}
{{- end }}<|start_header_id|>assistant<|end_header_id|>
"""

SOLAR = """\
{{ if .System }}### System:
{{ .System }}

{{ end }}{{ if .Prompt }}### User:
{{ .Prompt }}

{{ end }}### Assistant:
{{ .Response }}</s>

"""

OPENCHAT = """\
{{ .System }}<|end_of_turn|>GPT4 Correct User: {{ .Prompt }}<|end_of_turn|>\
GPT4 Correct Assistant: {{ .Response }}<|end_of_turn|>"""

FALCON = """\
{{ if .System }}System: {{ .System }}
{{ end }}{{ if .Prompt }}User:
{{ .Prompt }}
{{ end }}Falcon:
{{ .Response }}
"""

STARCODER2 = """\
{{ if .System }}{{ .System }}

{{ end }}{{ if .Prompt }}### Instruction
{{ .Prompt }}

{{ end }}### Response
{{ .Response }}<|endoftext|>

"""

CODELLAMA = """\
{{- if .Suffix }}<PRE> {{ .Prompt }} <SUF>{{ .Suffix }} <MID>
{{- else }}{{ .Prompt }}
{{- end }}"""

QWEN_CODER_FIM = """\
{{- if .Suffix }}<|fim_prefix|>{{ .Prompt }}<|fim_suffix|>{{ .Suffix }}<|fim_middle|>
{{- else if .Messages }}
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ else }}{{ .Response }}
{{- end -}}
"""

GPT_OSS = """\
<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.
Current date: {{ currentDate }}

Reasoning: {{ if .ThinkLevel }}{{ .ThinkLevel }}{{ else }}medium{{ end }}

# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>
{{- if or .System .Tools }}<|start|>developer<|message|>
{{- with .System }}# Instructions

{{ . }}

{{ end }}
{{- if .Tools }}# Tools

namespace functions {

{{ range .Tools }}// {{ .Function.Description }}
type {{ .Function.Name }} = (_: {
{{- range $name, $property := .Function.Parameters.Properties }}
// {{ $property.Description }}
{{ $name }}: {{ toTypeScriptType $property }},
{{- end }}
}) => any;

{{ end }}} // namespace functions
{{- end }}<|end|>
{{- end }}
{{- range .Messages }}
{{- if eq .Role "user" }}<|start|>user<|message|>{{ .Content }}<|end|>
{{- else if .ToolCalls }}
{{- range .ToolCalls }}<|start|>assistant<|channel|>commentary \
to=functions.{{ .Function.Name }} <|constrain|>json<|message|>
{{- json .Function.Arguments }}<|call|>{{ end }}
{{- else if eq .Role "assistant" }}<|start|>assistant<|channel|>final<|message|>{{ .Content }}<|end|>
{{- else if eq .Role "tool" }}<|start|>functions.{{ .ToolName }} to=assistant<|channel|>commentary<|message|>
{{- .Content }}<|end|>
{{- end }}
{{- end }}<|start|>assistant"""
