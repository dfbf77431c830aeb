"""Published prompt formats, rendered exactly. The expected prompts are written out by hand from the formats."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from puna.chat.gotemplate import GoTemplate, render_chat
from tests.chat.gotemplate import published

TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi!"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Who are you?"},
]

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "The weather",
        "parameters": {
            "type": "object",
            "required": ["place"],
            "properties": {
                "place": {"type": "string", "description": "where"},
                "days": {"type": "integer", "description": "how many"},
            },
        },
    },
}
FUNCTION_JSON = (
    '{"name":"look_up","description":"The weather","parameters":{"type":"object","required":["place"],"properties":'
    '{"days":{"type":"integer","description":"how many"},"place":{"type":"string","description":"where"}}}}'
)
TOOL_JSON = f'{{"type":"function","function":{FUNCTION_JSON}}}'

CALLED: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather in Lima?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c1", "function": {"name": "look_up", "arguments": {"place": "Lima", "days": 2}}}],
    },
    {"role": "tool", "content": "22 degrees", "tool_name": "look_up"},
]
ARGUMENTS = '{"days":2,"place":"Lima"}'

TALKS = {
    "CHATML": """\
<|im_start|>system
Be brief.<|im_end|>
<|im_start|>user
Hi!<|im_end|>
<|im_start|>assistant
Hello.<|im_end|>
<|im_start|>user
Who are you?<|im_end|>
<|im_start|>assistant
""",
    "LLAMA2": """\
[INST] <<SYS>>
Be brief.
<</SYS>>

Hi! [/INST] Hello. </s><s>[INST] Who are you? [/INST] """,
    "LLAMA3": """\
<|start_header_id|>system<|end_header_id|>

Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>

Hi!<|eot_id|><|start_header_id|>assistant<|end_header_id|>

Hello.<|eot_id|><|start_header_id|>user<|end_header_id|>

Who are you?<|eot_id|><|start_header_id|>assistant<|end_header_id|>

""",
    "LLAMA31": """\
<|start_header_id|>system<|end_header_id|>

Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>

Hi!<|eot_id|><|start_header_id|>assistant<|end_header_id|>

Hello.<|eot_id|><|start_header_id|>user<|end_header_id|>

Who are you?<|eot_id|><|start_header_id|>assistant<|end_header_id|>

""",
    "GEMMA": """\
<start_of_turn>user
Be brief.

Hi!<end_of_turn>
<start_of_turn>model
Hello.<end_of_turn>
<start_of_turn>user
Who are you?<end_of_turn>
<start_of_turn>model
""",
    "MISTRAL": "[INST] Be brief.\n\nHi! [/INST]Hello.</s>[INST] Who are you? [/INST]",
    "MISTRAL_TOOLS": "[INST] Hi![/INST] Hello.</s>[INST] Be brief.\n\nWho are you?[/INST]",
    "PHI3": """\
<|system|>
Be brief.<|end|>
<|user|>
Hi!<|end|>
<|assistant|>
Hello.<|end|>
<|user|>
Who are you?<|end|>
<|assistant|>
""",
    "COMMAND_R": (
        "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|># User Preamble\nBe brief.<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi!<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hello.<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Who are you?<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
    ),
    "ALPACA": """\
Be brief.

### Instruction:
Hi!

### Response:
Hello.

### Instruction:
Who are you?

### Response:
""",
    "VICUNA": "Be brief. USER: Hi! ASSISTANT: Hello.</s>USER: Who are you? ASSISTANT: ",
    "ZEPHYR": """\
<|system|>
Be brief.</s>
<|user|>
Hi!</s>
<|assistant|>
Hello.</s>
<|user|>
Who are you?</s>
<|assistant|>
""",
    "QWEN25": """\
<|im_start|>system
Be brief.<|im_end|>
<|im_start|>user
Hi!<|im_end|>
<|im_start|>assistant
Hello.<|im_end|>
<|im_start|>user
Who are you?<|im_end|>
<|im_start|>assistant
""",
    "QWEN3": """\
<|im_start|>system
Be brief.<|im_end|>
<|im_start|>user
Hi!<|im_end|>
<|im_start|>assistant
Hello.<|im_end|>
<|im_start|>user
Who are you?<|im_end|>
<|im_start|>assistant
""",
    "DEEPSEEK_CODER": """\
Be brief.
### Instruction:
Hi!
### Response:
Hello.
<|EOT|>
### Instruction:
Who are you?
### Response:
""",
    "DEEPSEEK_R1": (
        "Be brief.<｜User｜>Hi!<｜Assistant｜>Hello.<｜end▁of▁sentence｜><｜User｜>Who are you?<｜Assistant｜>"
    ),
    "GRANITE": """\
<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>
<|start_of_role|>user<|end_of_role|>Hi!<|end_of_text|>
<|start_of_role|>assistant<|end_of_role|>Hello.<|end_of_text|>
<|start_of_role|>user<|end_of_role|>Who are you?<|end_of_text|>
<|start_of_role|>assistant<|end_of_role|>""",
    "NEMOTRON": """\
<extra_id_0>System
Be brief.

<extra_id_1>User
Hi!
<extra_id_1>Assistant
Hello.
<extra_id_1>User
Who are you?
<extra_id_1>Assistant
""",
    "FIREFUNCTION": """\
<|start_header_id|>system<|end_header_id|>
Be brief.
In addition to plain text responses, you can choose to call one or more of the provided functions.<|eot_id|>\
<|start_header_id|>user<|end_header_id|>
Hi!<|eot_id|><|start_header_id|>assistant<|end_header_id|>
Hello.<|eot_id|><|start_header_id|>user<|end_header_id|>
Who are you?<|eot_id|><|start_header_id|>assistant<|end_header_id|>
""",
    "SOLAR": """\
### System:
Be brief.

### User:
Hi!

### Assistant:
Hello.</s>

### User:
Who are you?

### Assistant:
""",
    "OPENCHAT": (
        "Be brief.<|end_of_turn|>GPT4 Correct User: Hi!<|end_of_turn|>GPT4 Correct Assistant: Hello.<|end_of_turn|>"
        "<|end_of_turn|>GPT4 Correct User: Who are you?<|end_of_turn|>GPT4 Correct Assistant: "
    ),
    "FALCON": "System: Be brief.\nUser:\nHi!\nFalcon:\nHello.\nUser:\nWho are you?\nFalcon:\n",
    "STARCODER2": """\
Be brief.

### Instruction
Hi!

### Response
Hello.<|endoftext|>

### Instruction
Who are you?

### Response
""",
    "QWEN_CODER_FIM": """\
<|im_start|>system
Be brief.<|im_end|>
<|im_start|>user
Hi!<|im_end|>
<|im_start|>assistant
Hello.<|im_end|>
<|im_start|>user
Who are you?<|im_end|>
<|im_start|>assistant
""",
    "GPT_OSS": """\
<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.
Current date: 2026-07-04

Reasoning: medium

# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>\
<|start|>developer<|message|># Instructions

Be brief.

<|end|><|start|>user<|message|>Hi!<|end|><|start|>assistant<|channel|>final<|message|>Hello.<|end|>\
<|start|>user<|message|>Who are you?<|end|><|start|>assistant""",
}

CALLS = {
    "LLAMA31": """\
<|start_header_id|>system<|end_header_id|>

Environment: ipython<|eot_id|><|start_header_id|>user<|end_header_id|>

Weather in Lima?<|eot_id|><|start_header_id|>assistant<|end_header_id|>

{"name": "look_up", "parameters": %arguments%}<|eot_id|><|start_header_id|>ipython<|end_header_id|>

22 degrees<|eot_id|><|start_header_id|>assistant<|end_header_id|>

""",
    "MISTRAL_TOOLS": (
        '[AVAILABLE_TOOLS] [{"type": "function", "function": %function%}][/AVAILABLE_TOOLS]'
        "[INST] Weather in Lima?[/INST]"
        '[TOOL_CALLS] [{"name": "look_up", "arguments": %arguments%, "id": "c1"}]</s>'
        '[TOOL_RESULTS] {"content": "22 degrees"}[/TOOL_RESULTS]'
    ),
    "COMMAND_R": '''\
<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>

## Available Tools

```python
def look_up(days: integer, place: string, ) -> List[Dict]:
    """The weather
    days (integer): how many
    place (string): where
    """
    pass
```<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Weather in Lima?<|END_OF_TURN_TOKEN|>\
<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Action: ```json
[
    {
        "tool_name": "look_up",
        "parameters": %arguments%
    }
]```<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><results>
22 degrees
</results><|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>''',
    "QWEN25": """\
<|im_start|>system


# Tools

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{"type": "function", "function": %function%}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags.\
<|im_end|>
<|im_start|>user
Weather in Lima?<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "look_up", "arguments": %arguments%}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
22 degrees
</tool_response><|im_end|>
<|im_start|>assistant
""",
    "GRANITE": """\
<|start_of_role|>available_tools<|end_of_role|>
%tool%
<|end_of_text|>
<|start_of_role|>user<|end_of_role|>Weather in Lima?<|end_of_text|>
<|start_of_role|>assistant<|end_of_role|><|tool_call|>[{"name": "look_up", "arguments": %arguments%}]<|end_of_text|>
<|start_of_role|>tool_response<|end_of_role|>22 degrees<|end_of_text|>
<|start_of_role|>assistant<|end_of_role|>""",
    "NEMOTRON": """\
<extra_id_0>System

<tool> %tool% </tool>

<extra_id_1>User
Weather in Lima?
<extra_id_1>Assistant
<toolcall> {"name": "look_up", "arguments": %arguments%} </toolcall>
<extra_id_1>Tool
22 degrees
<extra_id_1>Assistant
""",
    "FIREFUNCTION": """\
<|start_header_id|>system<|end_header_id|>
In addition to plain text responses, you can choose to call one or more of the provided functions.

Functions:
[%tool%]<|eot_id|><|start_header_id|>user<|end_header_id|>
Weather in Lima?<|eot_id|><|start_header_id|>assistant<|end_header_id|> functools[{"name": "look_up", "arguments": \
%arguments%}]<|eot_id|><|start_header_id|>tool<|end_header_id|>
22 degrees<|eot_id|><|start_header_id|>assistant<|end_header_id|>
""",
    "GPT_OSS": """\
<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.
Current date: 2026-07-04

Reasoning: medium

# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>\
<|start|>developer<|message|># Tools

namespace functions {

// The weather
type look_up = (_: {
// how many
days: number,
// where
place: string,
}) => any;

} // namespace functions<|end|><|start|>user<|message|>Weather in Lima?<|end|>\
<|start|>assistant<|channel|>commentary to=functions.look_up <|constrain|>json<|message|>%arguments%<|call|>\
<|start|>functions.look_up to=assistant<|channel|>commentary<|message|>22 degrees<|end|><|start|>assistant""",
}


def template(name: str) -> GoTemplate:
    return GoTemplate(getattr(published, name), now=lambda: datetime(2026, 7, 4))


@pytest.mark.parametrize("name", sorted(TALKS))
def test_a_conversation_in_a_published_format(name: str) -> None:
    assert template(name).render(TALK) == TALKS[name]


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_tool_call_and_its_result_in_a_published_format(name: str) -> None:
    expected = CALLS[name]
    for mark, text in (("%arguments%", ARGUMENTS), ("%function%", FUNCTION_JSON), ("%tool%", TOOL_JSON)):
        expected = expected.replace(mark, text)
    assert template(name).render(CALLED, tools=[TOOL]) == expected


def test_llama_3_1_shows_its_tools_with_the_last_question() -> None:
    assert render_chat(published.LLAMA31, TALK, [TOOL]) == (
        "<|start_header_id|>system<|end_header_id|>\n\nEnvironment: ipython\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi!<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n"
        "Given the following functions, answer with a call of one of them as\n"
        '{"name": function name, "parameters": dictionary of argument name and its value}.\n\n'
        f"{TOOL_JSON}\n\nWho are you?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


@pytest.mark.parametrize(
    ("think", "asked", "opened"),
    [(None, "", ""), (True, " /think", ""), (False, " /no_think", "<think>\n\n</think>\n\n"), ("high", " /think", "")],
)
def test_qwen_3_is_told_whether_to_think(think: Any, asked: str, opened: str) -> None:
    assert render_chat(published.QWEN3, [{"role": "user", "content": "Hi!"}], think=think) == (
        f"<|im_start|>user\nHi!{asked}<|im_end|>\n<|im_start|>assistant\n{opened}"
    )


def test_qwen_3_is_shown_its_thoughts_since_the_last_question_only() -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "thinking": "old"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d", "thinking": "new"},
    ]
    assert render_chat(published.QWEN3, turns) == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nnew\n</think>\n\nd"
    )


@pytest.mark.parametrize(("think", "opened"), [(True, "<think>\n"), (False, ""), (None, "")])
def test_deepseek_r1_opens_a_thought(think: bool | None, opened: str) -> None:
    assert render_chat(published.DEEPSEEK_R1, TALK[:2], think=think) == f"Be brief.<｜User｜>Hi!<｜Assistant｜>{opened}"


@pytest.mark.parametrize(("think", "level"), [("low", "low"), ("high", "high"), (True, "medium"), (False, "medium")])
def test_gpt_oss_is_told_how_much_to_think(think: Any, level: str) -> None:
    assert f"Reasoning: {level}\n" in render_chat(published.GPT_OSS, TALK, think=think)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CODELLAMA", "<PRE> def add( <SUF>return x <MID>"),
        ("QWEN_CODER_FIM", "<|fim_prefix|>def add(<|fim_suffix|>return x<|fim_middle|>"),
    ],
)
def test_a_prompt_to_fill_in_between_two_texts(name: str, expected: str) -> None:
    assert template(name).render_infill("def add(", "return x") == expected


def test_code_llama_without_a_suffix_is_given_the_prompt_alone() -> None:
    assert render_chat(published.CODELLAMA, [{"role": "user", "content": "hello"}]) == "hello"
