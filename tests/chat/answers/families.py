"""One model of each family: its template, and what such a model writes when it calls the tools below.

Templates that may not be kept (tests/chat/templates/README.md) are replaced by extracts of our own, which write tools,
calls and thoughts with the same marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from puna.chat import ChatTemplate, Tool
from puna.chat.answers import AnswerFormat

TEMPLATES = Path(__file__).parents[1] / "templates"

WEATHER = Tool(
    "get_weather",
    "The weather in a place.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "where"},
            "days": {"type": "integer", "description": "how many"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "description": "of temperature"},
            "hours": {"type": "array", "items": {"type": "number"}, "description": "of the day"},
            "where": {
                "type": "object",
                "properties": {"street": {"type": "string"}, "indoors": {"type": "boolean"}},
                "required": ["street"],
                "additionalProperties": False,
                "description": "more exactly",
            },
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
)
CLOCK = Tool("now", "The time.", {"type": "object", "properties": {}, "additionalProperties": False})
TOOLS = (WEATHER, CLOCK)

_TURNS = "{% for m in messages %}{{ '<s>' + m.role + '\n' }}"
_CALLS = "{% for c in m.tool_calls or [] %}{% set f = c.function %}"
_END = (
    "{% endfor %}{{ m.content }}{{ '</s>' }}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)


def _extract(call: str) -> str:
    """A template whose assistant calls by `call`, an expression of `f.name` and `f.arguments`."""
    return "{% if tools %}{{ tools | tojson }}{% endif %}" + _TURNS + _CALLS + call + _END


_PAIRS = "{% for k, v in f.arguments.items() %}"
EXTRACTS = {
    "llama3.2": _extract("""{{ '{"name": "' + f.name + '", "parameters": ' + f.arguments | tojson + '}' }}"""),
    "command-r": _extract(
        r"""{{ 'Action: ```json\n[\n    {"tool_name": "' + f.name + '", "parameters": ' + f.arguments | tojson }}"""
        r"""{{ '}\n]```' }}"""
    ),
    "command-r7b": _extract(
        """{{ '<|START_THINKING|>' + (m.reasoning_content or '') + '<|END_THINKING|><|START_ACTION|>[\n    """
        """{"tool_call_id": "0", "tool_name": "' + f.name + '", "parameters": ' + f.arguments | tojson + '}\n]"""
        """<|END_ACTION|>' }}"""
    ),
    "functiongemma": _extract(
        "{{ '<start_function_call>call:' + f.name + '{' }}" + _PAIRS + "{{ k }}:<escape>{{ v }}<escape>"
        "{% endfor %}{{ '}<end_function_call>' }}"
    ),
    "gemma4": "{% if enable_thinking %}<|think|>{% endif %}{# <|channel>thought ... <channel|> #}"
    + _extract(
        "{{ '<|tool_call>call:' + f.name + '{' }}" + _PAIRS + """{{ k + ':<|"|>' + v + '<|"|>' }}"""
        "{% endfor %}{{ '}<tool_call|>' }}"
    ),
    "qwen3-coder": _extract(
        r"{{ '<tool_call>\n<function=' + f.name + '>\n' }}"
        + _PAIRS
        + r"{{ '<parameter=' + k + '>\n' + v + '\n</parameter>\n' }}{% endfor %}{{ '</function>\n</tool_call>' }}"
    ),
    "lfm2": _extract("<|tool_call_start|>[{{ f.name }}(" + _PAIRS + "{{ k }}='{{ v }}'{% endfor %})]<|tool_call_end|>"),
    "minimax-m2": _extract(
        """{{ '<minimax:tool_call>\n<invoke name="' + f.name + '">\n' }}"""
        + _PAIRS
        + """{{ '<parameter name="' + k + '">' + v + '</parameter>\n' }}{% endfor %}"""
        """{{ '</invoke>\n</minimax:tool_call>' }}"""
    ),
    "mistral-v3": "{# [TOOL_CALLS] #}"
    + _extract("""{{ '[TOOL_CALLS] [{"name": "' + f.name + '", "arguments": ' + f.arguments | tojson + '}]' }}"""),
    "deepseek-v3": _extract(
        "{{ '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>' + f.name + '\n```json\n' }}"
        "{{ f.arguments | tojson + '\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>' }}"
    ),
    "deepseek-v3.1-tools": _extract(
        "{{ '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + f.name + '<｜tool▁sep｜>' + f.arguments | tojson"
        " + '<｜tool▁call▁end｜><｜tool▁calls▁end｜>' }}"
    ),
    "deepseek-v3.2": "{# <think> and </think> around thoughts #}"
    + _extract(
        """{{ '<｜DSML｜function_calls>\n<｜DSML｜invoke name="' + f.name + '">\n' }}"""
        + _PAIRS
        + """{{ '<｜DSML｜parameter name="' + k + '" string="true">' + v + '</｜DSML｜parameter>\n' }}{% endfor %}"""
        """{{ '</｜DSML｜invoke>\n</｜DSML｜function_calls>' }}"""
    ),
    "kimi-k2": "{# thinking models: <think></think> #}"
    + _extract(
        "{{ '<|tool_calls_section_begin|><|tool_call_begin|>' + c.id + '<|tool_call_argument_begin|>' }}"
        "{{ f.arguments | tojson + '<|tool_call_end|><|tool_calls_section_end|>' }}"
    ),
    "functionary3.1": _extract("{{ '<function=' + f.name + '>' + f.arguments + '</function>' }}"),
    "functionary3.2": "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}{{ '<s>' + m.role + '\n' }}{% if m.role == 'assistant' %}{{ '>>>all\n' + m.content }}"
    + _CALLS
    + "{{ '>>>' + f.name + '\n' + f.arguments }}{% endfor %}{% else %}{{ m.content }}{% endif %}</s>{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n>>>' }}{% endif %}",
    "qwen3.5": _extract(
        r"{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}"
        r"{{ '<tool_call>\n<function=' + f.name + '>\n' }}"
        + _PAIRS
        + r"{{ '<parameter=' + k + '>\n' + v + '\n</parameter>\n' }}{% endfor %}{{ '</function>\n</tool_call>' }}"
    )
    + r"{% if add_generation_prompt %}{{ '<think>\n' if enable_thinking is not false else '<think>\n\n</think>\n\n' }}"
    + "{% endif %}",
    "magistral": "{# [THINK] and [/THINK] around thoughts #}"
    + _extract("{{ '[TOOL_CALLS]' + f.name + '[ARGS]' + f.arguments | tojson }}"),
}


@cache
def template(family: str) -> ChatTemplate:
    """A kept template, or an extract."""
    source = EXTRACTS.get(family) or (TEMPLATES / f"{family}.jinja").read_text(encoding="utf-8")
    return ChatTemplate(source, bos_token="<BOS>", eos_token="<EOS>")


@cache
def answer_format(family: str) -> AnswerFormat:
    return AnswerFormat.of(template(family))


@dataclass(frozen=True)
class Sample:
    """What a model wrote, and what is in it. `calls` are (name, arguments)."""

    family: str
    answer: str
    text: str = ""
    thought: str = ""
    calls: tuple[tuple[str, dict[str, object]], ...] = ()


_PARIS: tuple[str, dict[str, object]] = ("get_weather", {"city": "Paris"})
_PARIS_IN: tuple[str, dict[str, object]] = ("get_weather", {"city": "Paris", "unit": "celsius"})
_NOW: tuple[str, dict[str, object]] = ("now", {})

SAMPLES = [
    Sample(
        "qwen2.5",
        'I look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>\n<tool_call>\n'
        '{"name": "now", "arguments": {}}\n</tool_call>',
        "I look.",
        calls=(_PARIS, _NOW),
    ),
    Sample(
        "qwen3",
        '<think>\nWeather, then.\n</think>\n\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\n\nDone.',
        "Done.",
        "Weather, then.",
        (_NOW,),
    ),
    Sample("qwen3", "<think>\n\n</think>\n\nYes.", "Yes."),
    Sample("llama3.2", '{"name": "get_weather", "parameters": {"city": "Paris"}}', calls=(_PARIS,)),
    Sample("llama3.2", '{"name": "now", "parameters": {}}; {"name": "now", "parameters": {}}', calls=(_NOW, _NOW)),
    Sample("llama3.2", "[get_weather(city='Paris', unit=\"celsius\"), now()]", calls=(_PARIS_IN, _NOW)),
    Sample("llama3.2", '<|python_tag|>{"type": "function", "name": "now", "parameters": {}}', calls=(_NOW,)),
    Sample("llama3.2", '<|python_tag|>get_weather.call(city="Paris")', calls=(_PARIS,)),
    Sample("llama3.2", '[{"name": "now", "parameters": {}}]', calls=(_NOW,)),
    Sample("mistral-v3", '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris"}}]', calls=(_PARIS,)),
    Sample(
        "mistral-nemo",
        '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "D681PevKs"}, {"name": "now"}]',
        calls=(_PARIS, _NOW),
    ),
    Sample(
        "mistral-small3.2",
        'I look.[TOOL_CALLS]get_weather[CALL_ID]D681PevKs[ARGS]{"city": "Paris"}[TOOL_CALLS]now[ARGS]{}',
        "I look.",
        calls=(_PARIS, _NOW),
    ),
    Sample("magistral", "[THINK]Hm.[/THINK]Yes.[TOOL_CALLS]now[ARGS]{}", "Yes.", "Hm.", (_NOW,)),
    Sample(
        "deepseek-v3",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{"city": "Paris"}\n```'
        "<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜>",
        calls=(_PARIS, _NOW),
    ),
    Sample(
        "deepseek-v3.1-tools",
        'I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Paris"}'
        "<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "I look.",
        calls=(_PARIS, _NOW),
    ),
    Sample(
        "deepseek-v3.2",
        'Hm.</think>I look.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n'
        '<｜DSML｜parameter name="city" string="true">Paris "and" 12</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="hours" string="false">[1, 2]</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
        '<｜DSML｜invoke name="now">\n</｜DSML｜invoke>\n</｜DSML｜function_calls>',
        "Hm.</think>I look.",
        calls=(("get_weather", {"city": 'Paris "and" 12', "hours": [1, 2]}), _NOW),
    ),
    Sample(
        "kimi-k2",
        "I look.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        '{"city": "Paris"}<|tool_call_end|><|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}'
        "<|tool_call_end|><|tool_calls_section_end|>",
        "I look.",
        calls=(_PARIS, _NOW),
    ),
    Sample(
        "functionary3.1",
        'I look.<function=get_weather>{"city": "Paris"}</function><function=now>{}</function>',
        "I look.",
        calls=(_PARIS, _NOW),
    ),
    Sample(
        "functionary3.2",
        '>>>all\nI look: >>> is a prompt.>>>get_weather\n{"city": "Paris"}>>>now\n{}',
        "I look: >>> is a prompt.",
        calls=(_PARIS, _NOW),
    ),
    Sample(
        "qwen3.5",
        "<think>\nHm.\n</think>\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n"
        "</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
        thought="Hm.",
        calls=(_PARIS, _NOW),
    ),
    Sample(
        "functiongemma",
        "<start_function_call>call:get_weather{city:<escape>Paris<escape>,days:3,hours:[1,2.5],"
        "where:{indoors:true,street:<escape>a {b}, c<escape>}}<end_function_call>"
        "<start_function_call>call:now{}<end_function_call>",
        calls=(
            (
                "get_weather",
                {"city": "Paris", "days": 3, "hours": [1, 2.5], "where": {"indoors": True, "street": "a {b}, c"}},
            ),
            _NOW,
        ),
    ),
    Sample(
        "gemma4",
        '<|channel>thought\nHm.\n<channel|>I look.<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>',
        "I look.",
        "Hm.",
        (_PARIS,),
    ),
    Sample(
        "gpt-oss",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        '<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city":"Paris"}'
        "<|call|>",
        "I look.",
        "Hm.",
        (_PARIS,),
    ),
    Sample("gpt-oss", " to=functions.now<|channel|>commentary json<|message|>{}", calls=(_NOW,)),
    Sample(
        "gpt-oss",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes, 2 < 3.<|return|>",
        "Yes, 2 < 3.",
        "Hm.",
    ),
    Sample("gpt-oss", "<|channel|>commentary to=functions.now json<|message|>{}<|call|>", calls=(_NOW,)),
    Sample("gpt-oss", "Just so.", "Just so."),
    Sample("gpt-oss", "<|channel|>analysis to=functions.now code<|message|>{}<|call|>", calls=(_NOW,)),
    Sample("gpt-oss", '<|channel|>final <|constrain|>json<|message|>{"a": 1}<|return|>', '{"a": 1}'),
    Sample(
        "gpt-oss",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.now<|channel|>commentary <|constrain|>"
        "json<|message|>{}<|call|><|start|>assistant<|channel|>commentary to=get_weather<|message|>"
        '{"city": "Paris"}<|call|>',
        thought="Hm.",
        calls=(_NOW, _PARIS),
    ),
    Sample(
        "qwen3-coder",
        "I look.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n  and\nLyon\n</parameter>\n"
        "<parameter=days>\n3\n</parameter>\n<parameter=hours>\n[1, 2]\n</parameter>\n</function>\n</tool_call>",
        "I look.",
        calls=(("get_weather", {"city": "Paris\n  and\nLyon", "days": 3, "hours": [1, 2]}),),
    ),
    Sample("qwen3-coder", "<function=now>\n</function>\n</tool_call>", calls=(_NOW,)),
    Sample(
        "seed-oss",
        "<seed:think>Hm.</seed:think><seed:tool_call>\n<function=get_weather>\n<parameter=city>12</parameter>\n"
        "<parameter=where>{'street': 'a', 'indoors': True}</parameter>\n</function>\n</seed:tool_call>",
        thought="Hm.",
        calls=(("get_weather", {"city": "12", "where": {"street": "a", "indoors": True}}),),
    ),
    Sample(
        "minimax-m2",
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n</invoke>\n'
        '<invoke name="now">\n</invoke>\n</minimax:tool_call>',
        calls=(_PARIS, _NOW),
    ),
    Sample(
        "glm4.6",
        "\n<think>Hm.</think>\nI look.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>",
        "I look.",
        "Hm.",
        (("get_weather", {"city": "Paris", "days": 3}), _NOW),
    ),
    Sample(
        "command-r",
        'Action: ```json\n[\n    {\n        "tool_name": "get_weather",\n        "parameters": {"city": "Paris"}\n'
        "    }\n]```",
        calls=(_PARIS,),
    ),
    Sample(
        "command-r7b",
        '<|START_THINKING|>Hm.<|END_THINKING|><|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "get_weather", '
        '"parameters": {"city": "Paris"}},\n    {"tool_call_id": "1", "tool_name": "now", "parameters": {}}\n]'
        "<|END_ACTION|>",
        thought="Hm.",
        calls=(_PARIS, _NOW),
    ),
    Sample("granite3.3", '<|tool_call|>[{"name": "now", "arguments": {}}]', calls=(_NOW,)),
    Sample("granite3.3", "<think>Hm.</think>\n<response>I look.\n</response>", "I look.", "Hm."),
    Sample("granite4", '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>', calls=(_NOW,)),
    Sample("bielik3", '<tool_call>{"name": "now", "arguments": {}}</tool_call>', calls=(_NOW,)),
    Sample(
        "apertus",
        '<|inner_prefix|>Hm.<|inner_suffix|><|tools_prefix|>[{"get_weather": {"city": "Paris"}}, {"now": {}}]'
        "<|tools_suffix|>",
        thought="Hm.",
        calls=(_PARIS, _NOW),
    ),
    Sample(
        "lfm2", '<|tool_call_start|>[get_weather(city="Paris")]<|tool_call_end|>I look.', "I look.", calls=(_PARIS,)
    ),
]
